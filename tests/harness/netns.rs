//! Network namespaces that are removed when the test ends.

mod cgroup;
mod sockets;

use std::{
    fmt,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    unistd::geteuid,
};
use tempfile::TempDir;

use crate::{Output, Process, slowdown};
use cgroup::Cgroup;
pub use sockets::Transport;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with its loopback device up. Clones share it; dropping the last clone removes it.
#[derive(Clone)]
pub struct Netns {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    file: File,
    path: PathBuf,
    /// The directory of the mount point; `None` for a namespace that another process created.
    directory: Option<TempDir>,
    cgroup: Option<Arc<Cgroup>>,
}

impl Netns {
    /// Creates a namespace. `label` makes its name easier to read.
    pub fn new(label: &str) -> Self {
        Self::make(label, None)
    }

    /// Creates a namespace with a cgroup (v2) of its own. Every program that is started in the namespace runs in that
    /// cgroup, so that programs attached to the cgroup see only the processes of this host.
    pub fn with_cgroup(label: &str) -> Self {
        let name = unique(label);
        Self::make(label, Some(Cgroup::new(&name)))
    }

    /// Opens a namespace that another process created and removes, such as a sandbox of a daemon on `host`. Programs
    /// that are started in it run in the host's cgroup, as the processes of a container do.
    pub fn open(label: &str, path: &Path, host: &Self) -> Self {
        Self {
            inner: Arc::new(Inner {
                name: unique(label),
                file: File::open(path).expect("namespace"),
                path: path.to_owned(),
                directory: None,
                cgroup: host.inner.cgroup.clone(),
            }),
        }
    }

    /// The unique name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The mount point, below a temporary directory that `ip netns` does not list.
    pub fn path(&self) -> PathBuf {
        self.inner.path.clone()
    }

    /// The cgroup, if the namespace has one.
    pub fn cgroup(&self) -> Option<&Path> {
        self.inner.cgroup.as_deref().map(Cgroup::path)
    }

    /// Runs a command line and waits for its end; it must succeed. Words are separated by white space. Returns standard
    /// output.
    #[track_caller]
    pub fn exec(&self, command_line: &str) -> String {
        self.run(&words(command_line)).success()
    }

    /// Runs a program and waits for its end.
    pub fn run(&self, command: &[impl AsRef<str>]) -> Output {
        let mut prepared = self.command(command);
        let output = prepared.output().expect("the program starts");
        Output::new(text(command), output)
    }

    /// Starts a command line in the background; dropping the guard kills it.
    pub fn spawn(&self, command_line: &str) -> Process {
        self.start(&words(command_line))
    }

    /// Starts a program in the background; dropping the guard kills it.
    pub fn start(&self, command: &[impl AsRef<str>]) -> Process {
        Process::start(text(command), self.command(command))
    }

    /// A prepared command that runs in the namespace, for callers that need more than [`Self::run`] and
    /// [`Self::start`].
    pub fn command(&self, command: &[impl AsRef<str>]) -> Command {
        let (program, arguments) = command.split_first().expect("a command");
        let mut prepared = Command::new(program.as_ref());
        prepared.args(arguments.iter().map(AsRef::as_ref));
        let namespace = self.inner.file.try_clone().expect("descriptor");
        let cgroup = self.inner.cgroup.as_deref().map(Cgroup::processes);
        // SAFETY: between fork and exec the closure only makes system calls on descriptors that it owns.
        unsafe {
            prepared.pre_exec(move || {
                if let Some(mut processes) = cgroup.as_ref() {
                    io::Write::write_all(&mut processes, b"0")?;
                }
                Ok(setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?)
            });
        }
        prepared
    }

    /// Runs a closure on a thread in the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let outcome = thread::scope(|scope| {
            thread::Builder::new()
                .name(thread::current().name().unwrap_or("unnamed").to_owned())
                .spawn_scoped(scope, || {
                    setns(&self.inner.file, CloneFlags::CLONE_NEWNET).expect("setns");
                    work()
                })
                .expect("thread")
                .join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Sets a sysctl; the key is a path below `/proc/sys`.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.enter(|| fs::write(format!("/proc/sys/{key}"), value).expect(key));
    }

    /// Whether a TCP socket listens on a port, or a UDP socket is bound to it.
    pub fn listens(&self, transport: Transport, port: u16) -> bool {
        self.enter(|| sockets::listens(transport, port))
    }

    /// Waits until [`Self::listens`] returns true; panics after ten seconds.
    #[track_caller]
    pub fn wait_for_port(&self, transport: Transport, port: u16) {
        let start = Instant::now();
        while !self.listens(transport, port) {
            assert!(
                start.elapsed() < Duration::from_secs(10) * slowdown(),
                "nothing listens on {transport:?} port {port} in {}",
                self.name()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn make(label: &str, cgroup: Option<Cgroup>) -> Self {
        assert!(
            geteuid().is_root(),
            "tests that make network namespaces need root"
        );
        let name = unique(label);
        let directory = TempDir::with_prefix(format!("{name}-")).expect("temporary directory");
        let path = directory.path().join("net");
        File::create(&path).expect("mount point");
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
                let own = Some("/proc/thread-self/ns/net");
                mount(own, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("mount");
            });
            made.join().expect("the namespace is made");
        });
        let file = File::open(&path).expect("namespace");
        let netns = Self {
            inner: Arc::new(Inner {
                name,
                file,
                path,
                directory: Some(directory),
                cgroup: cgroup.map(Arc::new),
            }),
        };
        netns.exec("ip link set lo up");
        netns
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Netns").field(&self.inner.name).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A failed unmount leaves a directory that cannot be removed. A destructor cannot report it.
        if self.directory.is_some() {
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        }
    }
}

/// A name of at most 31 bytes that is unique on this machine.
pub(crate) fn unique(label: &str) -> String {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("npt-{label}-{}-{count}", std::process::id())
}

fn words(command_line: &str) -> Vec<&str> {
    command_line.split_ascii_whitespace().collect()
}

fn text(command: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
    words.join(" ")
}
