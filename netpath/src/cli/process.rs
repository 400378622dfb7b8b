//! Processes in sandboxes: the one place of the command line that forks, enters namespaces and handles signals.
//!
//! Between fork and exec only system calls are made: everything that needs memory is prepared before. What fails
//! there is told through a pipe of our own, since `Command` passes on no more than an error number.

use std::{
    ffi::{CStr, OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    thread,
};

use nix::{
    fcntl::OFlag,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, pthread_sigmask, signal},
        signalfd::{SfdFlags, SignalFd},
        statvfs::{FsFlags, statvfs},
    },
    unistd::{Pid, getpid, getppid, pipe2, sethostname, setsid},
};

/// How a process gets into a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Path of the network namespace.
    pub netns: PathBuf,
    /// Host name, in a UTS namespace of its own.
    pub hostname: Option<String>,
    /// Mounts a `/sys` that shows the sandbox's devices, in a mount namespace of its own.
    pub sysfs: bool,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The namespace cannot be opened.
    #[error("could not open the namespace {}: {source}", path.display())]
    Open {
        /// Path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process could not be made or prepared.
    #[error("could not {what}: {source}")]
    Prepare {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The command is not one.
    #[error("could not run '{}': {source}", program.display())]
    Exec {
        /// The program.
        program: OsString,
        /// Why.
        source: io::Error,
    },
}

/// Why a detached process did not start.
#[derive(Debug)]
pub(super) enum DetachError<E> {
    /// Nothing is wrong with the process: what it was to wait for failed.
    Withdrawn(E),
    /// The process did not start.
    Start(StartError),
}

/// Signals that are passed on to a process in the foreground.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Runs a command in the foreground, passes signals on to it, and returns how it ended. It dies with this process.
///
/// Signals stay blocked in this process afterwards, so that what remains to be done is done.
pub(super) fn foreground(command: &[OsString], entry: &Entry) -> Result<ExitStatus, StartError> {
    let failed = |what| move |errno: nix::Error| prepare(what, errno);
    // SAFETY: no handler is installed. An inherited "ignore" would have the kernel reap the child unseen.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map_err(failed("handle SIGCHLD"))?;
    let mut signals = SigSet::from_iter(FORWARDED);
    signals.add(Signal::SIGCHLD);
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)
        .map_err(failed("block signals"))?;
    let events =
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).map_err(failed("watch signals"))?;

    let parent = getpid();
    let mut steps = Steps::of(entry)?;
    steps.before = Some(Box::new(move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the request.
        if getppid() == parent {
            Ok(())
        } else {
            Err(nix::Error::ESRCH)
        }
    }));
    let (mut process, report) = prepared(command, steps)?;
    let spawned = process.spawn();
    drop(process);
    let mut child = spawned.map_err(|error| report.explain(command, error))?;
    let pid = child_pid(child.id());
    loop {
        if let Some(status) = child.try_wait().map_err(|source| StartError::Prepare {
            what: "wait for the command",
            source,
        })? {
            return Ok(status);
        }
        let event = match events.read_signal() {
            Ok(Some(event)) => event,
            Ok(None) | Err(nix::Error::EINTR) => continue,
            Err(errno) => return Err(prepare("read signals", errno)),
        };
        let number = i32::try_from(event.ssi_signo).unwrap_or_default();
        // What the terminal sends (a positive code) goes to the whole process group: the child has it already.
        if event.ssi_code <= 0
            && let Ok(signal) = Signal::try_from(number)
            && signal != Signal::SIGCHLD
        {
            // It may just have ended.
            let _ = kill(pid, signal);
        }
    }
}

/// Starts a command in a session of its own, without terminal and files. `provide` makes what it enters, given the
/// number that the process has from the beginning; the process waits for that. Returns once the command runs.
pub(super) fn detached<T, E>(
    command: &[OsString],
    provide: impl FnOnce(i32) -> Result<(T, Entry), E>,
) -> Result<T, DetachError<E>> {
    let failed = |what| move |errno: nix::Error| DetachError::Start(prepare(what, errno));
    let (number_out, number_in) = pipe2(OFlag::O_CLOEXEC).map_err(failed("make a pipe"))?;
    let (entry_out, entry_in) = pipe2(OFlag::O_CLOEXEC).map_err(failed("make a pipe"))?;
    let foreign = entry_in.as_raw_fd();
    let (mut process, report) = prepared(
        command,
        Steps {
            before: Some(Box::new(move || {
                // SAFETY: this is the child's copy of the parent's end; nothing else of the child uses it. While it
                // is open, the end of the parent would go unnoticed.
                drop(unsafe { OwnedFd::from_raw_fd(foreign) });
                setsid()?;
                nix::unistd::write(&number_in, &getpid().as_raw().to_ne_bytes())?;
                Ok(())
            })),
            place: Place::Later(entry_out),
            flags: sysfs_flags(),
        },
    )
    .map_err(DetachError::Start)?;
    process
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());

    // Spawning returns when the command runs, which is after `provide`.
    let spawning = thread::spawn(move || {
        let result = process.spawn().map(drop);
        // Its end of the pipe goes with it: otherwise nobody would notice that no number comes.
        drop(process);
        result
    });
    let mut number = [0; 4];
    let provided = match File::from(number_out).read_exact(&mut number) {
        Ok(()) => Some(provide(i32::from_ne_bytes(number))),
        // The process did not come so far; spawning tells why.
        Err(_) => None,
    };
    if let Some(Ok((_, entry))) = &provided {
        // If the process is gone, spawning tells why.
        let _ = File::from(entry_in).write_all(&encode(entry));
    } else {
        drop(entry_in);
    }
    let spawned = spawning.join();
    match (provided, spawned) {
        (Some(Err(error)), _) => Err(DetachError::Withdrawn(error)),
        (_, Ok(Err(error))) => Err(DetachError::Start(report.explain(command, error))),
        (Some(Ok((value, _))), Ok(Ok(()))) => Ok(value),
        (None, Ok(Ok(()))) | (_, Err(_)) => Err(DetachError::Start(prepare(
            "start the process",
            nix::Error::ECANCELED,
        ))),
    }
}

/// Replaces this process by a command; returns only if that failed.
pub(super) fn replace(command: &[OsString], entry: &Entry) -> StartError {
    let prepared = Steps::of(entry).and_then(|steps| prepared(command, steps));
    match prepared {
        Ok((mut process, report)) => {
            let error = process.exec();
            drop(process);
            report.explain(command, error)
        }
        Err(error) => error,
    }
}

type Step = Box<dyn FnMut() -> nix::Result<()> + Send + Sync>;

/// What the child does before it becomes the command.
struct Steps {
    before: Option<Step>,
    place: Place,
    flags: MsFlags,
}

enum Place {
    Known(OwnedFd, Option<String>, bool),
    /// Comes as [`encode`]d bytes.
    Later(OwnedFd),
}

impl Steps {
    fn of(entry: &Entry) -> Result<Self, StartError> {
        let netns = File::open(&entry.netns).map_err(|source| StartError::Open {
            path: entry.netns.clone(),
            source,
        })?;
        Ok(Self {
            before: None,
            place: Place::Known(netns.into(), entry.hostname.clone(), entry.sysfs),
            flags: sysfs_flags(),
        })
    }

    /// Runs in the child.
    fn run(&mut self) -> Result<(), (Stage, nix::Error)> {
        if let Some(before) = &mut self.before {
            before().map_err(|errno| (Stage::Start, errno))?;
        }
        match &self.place {
            Place::Known(netns, hostname, sysfs) => enter(
                netns,
                hostname.as_deref().map(str::as_bytes),
                *sysfs,
                self.flags,
            ),
            Place::Later(entry) => {
                let mut buffer = [0; MAX_ENTRY];
                let (netns, hostname, sysfs) =
                    receive(entry, &mut buffer).map_err(|errno| (Stage::Start, errno))?;
                let netns = nix::fcntl::open(
                    netns,
                    OFlag::O_RDONLY | OFlag::O_CLOEXEC,
                    nix::sys::stat::Mode::empty(),
                )
                .map_err(|errno| (Stage::Namespace, errno))?;
                enter(&netns, hostname, sysfs, self.flags)
            }
        }
    }
}

/// Enters a sandbox. Makes system calls only.
fn enter(
    netns: &OwnedFd,
    hostname: Option<&[u8]>,
    sysfs: bool,
    flags: MsFlags,
) -> Result<(), (Stage, nix::Error)> {
    let at = |stage| move |errno| (stage, errno);
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(at(Stage::Namespace))?;
    if let Some(hostname) = hostname {
        unshare(CloneFlags::CLONE_NEWUTS).map_err(at(Stage::Hostname))?;
        sethostname(OsStr::from_bytes(hostname)).map_err(at(Stage::Hostname))?;
    }
    if sysfs {
        unshare(CloneFlags::CLONE_NEWNS).map_err(at(Stage::Mount))?;
        // What is mounted inside stays inside; what is mounted outside is seen inside.
        let none: Option<&CStr> = None;
        mount(none, c"/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
            .map_err(at(Stage::Mount))?;
        let kept = [c"/sys/fs/cgroup", c"/sys/fs/bpf"].map(|path| (path, pick_up(path)));
        mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), flags, none).map_err(at(Stage::Mount))?;
        for (path, tree) in kept {
            if let Some(tree) = tree {
                put_down(&tree, path);
            }
        }
    }
    Ok(())
}

/// A detached copy of the mounts at and below `path`; `None` if there are none.
fn pick_up(path: &CStr) -> Option<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as u32;
    // SAFETY: the path is a C string that outlives the call; the kernel writes nothing.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let tree = RawFd::try_from(tree).ok().filter(|tree| *tree >= 0)?;
    // SAFETY: the kernel has just returned it, so nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(tree) })
}

/// Mounts a copy that [`pick_up`] made. Without it the command sees less of `/sys`, which is no reason to fail.
fn put_down(tree: &OwnedFd, path: &CStr) {
    // SAFETY: both paths are C strings that outlive the call; the kernel writes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        );
    }
}

/// A new `/sys` is as restricted as the old one.
fn sysfs_flags() -> MsFlags {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if statvfs(c"/sys").is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY)) {
        flags |= MsFlags::MS_RDONLY;
    }
    flags
}

/// Room for an encoded [`Entry`]: the longest path and the longest host name.
const MAX_ENTRY: usize = 4096 + 256;

/// An entry as bytes: flag for `/sys`, length of the host name (0 for none), host name, path, zero.
fn encode(entry: &Entry) -> Vec<u8> {
    let hostname = entry.hostname.as_deref().unwrap_or_default().as_bytes();
    let hostname = hostname.get(..64).unwrap_or(hostname);
    let mut bytes = vec![u8::from(entry.sysfs), hostname.len() as u8];
    bytes.extend_from_slice(hostname);
    bytes.extend_from_slice(entry.netns.as_os_str().as_bytes());
    bytes.push(0);
    bytes
}

/// Reads what [`encode`] has made, without using memory of the heap.
fn receive<'a>(
    from: &OwnedFd,
    buffer: &'a mut [u8; MAX_ENTRY],
) -> nix::Result<(&'a CStr, Option<&'a [u8]>, bool)> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match nix::unistd::read(from, rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    decode(buffer.get(..length).unwrap_or_default()).ok_or(nix::Error::ECANCELED)
}

fn decode(bytes: &[u8]) -> Option<(&CStr, Option<&[u8]>, bool)> {
    let (sysfs, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (hostname, netns) = rest.split_at_checked(usize::from(*length))?;
    let netns = CStr::from_bytes_with_nul(netns).ok()?;
    let hostname = Some(hostname).filter(|hostname| !hostname.is_empty());
    Some((netns, hostname, *sysfs != 0))
}

/// Where the child stands when something fails.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Stage {
    Start = 1,
    Namespace = 2,
    Hostname = 3,
    Mount = 4,
}

impl Stage {
    fn what(byte: u8) -> &'static str {
        match byte {
            2 => "enter the network namespace",
            3 => "set the host name",
            4 => "mount /sys",
            _ => "start the process",
        }
    }
}

/// The parent's end of the pipe that tells a [`Stage`].
struct Report(OwnedFd);

/// The command, ready to spawn or to exec, and what tells why it failed. To be dropped before the report is read.
fn prepared(command: &[OsString], mut steps: Steps) -> Result<(Command, Report), StartError> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| prepare("start the process", nix::Error::EINVAL))?;
    let (report, stage) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| prepare("make a pipe", errno))?;
    let mut process = Command::new(program);
    process.args(arguments);
    // SAFETY: between fork and exec, the steps make system calls only: no allocation, no locks.
    unsafe {
        process.pre_exec(move || match steps.run() {
            Ok(()) => Ok(()),
            Err((at, errno)) => {
                // The parent falls back to a vaguer message.
                let _ = nix::unistd::write(&stage, &[at as u8]);
                Err(errno.into())
            }
        });
    }
    Ok((process, Report(report)))
}

impl Report {
    fn explain(self, command: &[OsString], source: io::Error) -> StartError {
        let mut stages = Vec::new();
        match File::from(self.0).read_to_end(&mut stages) {
            Ok(_) if !stages.is_empty() => StartError::Prepare {
                what: Stage::what(stages.first().copied().unwrap_or_default()),
                source,
            },
            _ => StartError::Exec {
                program: command.first().cloned().unwrap_or_default(),
                source,
            },
        }
    }
}

fn prepare(what: &'static str, errno: nix::Error) -> StartError {
    StartError::Prepare {
        what,
        source: errno.into(),
    }
}

fn child_pid(id: u32) -> Pid {
    // Process numbers are positive and fit: the kernel has no more than 2^22 of them.
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Entry {
        Entry {
            netns: "/proc/self/ns/net".into(),
            hostname: None,
            sysfs: false,
        }
    }

    #[test]
    fn entries_survive_the_pipe() {
        for hostname in [None, Some("web".to_owned())] {
            let entry = Entry {
                hostname: hostname.clone(),
                sysfs: true,
                ..here()
            };
            let bytes = encode(&entry);
            assert_eq!(
                decode(&bytes),
                Some((
                    c"/proc/self/ns/net",
                    hostname.as_deref().map(str::as_bytes),
                    true
                ))
            );
        }
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0, 9, b'a', 0]), None);
        assert_eq!(decode(&[0, 0, b'a']), None);
    }

    #[test]
    fn a_namespace_that_is_gone_is_named() {
        let entry = Entry {
            netns: "/nonexistent/netns".into(),
            ..here()
        };
        let error = foreground(&["true".into()], &entry).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/netns"), "{error}");
    }
}
