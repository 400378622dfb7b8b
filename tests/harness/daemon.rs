//! The daemon under test, as a process on a host of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Netns, Output, Process, netpath_binary, pin_names, slowdown};

/// A running daemon with its own run, state and BPF directories. Dropping the guard stops the daemon and removes
/// everything it created. Unless the test has failed, [`Self::teardown`] runs first and its checks apply.
#[derive(Debug)]
pub struct Daemon {
    host: Netns,
    binary: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
    directory: TempDir,
    torn_down: bool,
}

/// The settings of a [`Daemon`].
#[derive(Clone, Debug)]
pub struct DaemonBuilder {
    host: Netns,
    arguments: Vec<String>,
    binary: Option<PathBuf>,
    files: Vec<(String, String)>,
}

impl Daemon {
    /// Starts a daemon and waits until it is ready. The host must have a cgroup of its own, as
    /// [`Topology`](crate::fixture::Topology) makes it.
    #[track_caller]
    pub fn start(host: &Netns) -> Self {
        Self::builder(host).start()
    }

    /// A builder for a daemon with further settings.
    pub fn builder(host: &Netns) -> DaemonBuilder {
        DaemonBuilder {
            host: host.clone(),
            arguments: Vec::new(),
            binary: None,
            files: Vec::new(),
        }
    }

    /// The run directory.
    pub fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The pin directory, in a BPF file system that only this daemon uses.
    pub fn bpf_dir(&self) -> PathBuf {
        self.bpffs().join("netpath")
    }

    /// The socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("netpath.sock")
    }

    /// The process. Panics if the daemon is stopped.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the daemon runs")
    }

    /// Runs the command line on the host and waits for its end.
    pub fn cli(&self, arguments: &[impl AsRef<str>]) -> Output {
        self.host.run(&self.words(arguments))
    }

    /// A prepared command of the command line, for callers that need more than [`Self::cli`] and [`Self::spawn`].
    pub fn command(&self, arguments: &[impl AsRef<str>]) -> Command {
        self.host.command(&self.words(arguments))
    }

    /// Starts a command of the command line without waiting for its end.
    pub fn spawn(&self, arguments: &[impl AsRef<str>]) -> Process {
        self.host.start(&self.words(arguments))
    }

    /// Runs the command line with `--output json`; it must succeed.
    #[track_caller]
    pub fn json(&self, arguments: &[impl AsRef<str>]) -> Value {
        let mut words: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        words.extend(["--output", "json"]);
        let text = self.cli(&words).success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}:\n{text}"))
    }

    /// Waits until the daemon reports that it is ready. Panics with the daemon's log after 30 seconds times [`slowdown`].
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) * slowdown() {
            let ready = self.cli(&["status", "--wait", "1"]);
            if ready.status == Some(0) {
                return;
            }
            let process = self.process();
            let ended = process.ended();
            assert!(
                ended.is_none(),
                "the daemon has ended with {ended:?}:\n{}",
                process.output()
            );
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the daemon is not ready:\n{}", self.process().output());
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Stops the daemon with SIGTERM and waits for its end.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGTERM);
            let status = process.wait(Duration::from_secs(10) * slowdown());
            assert_eq!(status, Some(0), "the daemon's end:\n{}", process.output());
        }
    }

    /// Stops the daemon if it runs, starts it on the same directories, and waits until it is ready.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
        self.wait_ready();
    }

    /// Restarts the daemon with these arguments instead of the previous ones.
    #[track_caller]
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        self.restart();
    }

    /// Removes everything with `netpath teardown`. Fails if a device, pin, mount or socket is left. Dropping the guard
    /// does the same.
    #[track_caller]
    pub fn teardown(mut self) {
        self.tear_down();
    }

    #[track_caller]
    fn tear_down(&mut self) {
        self.torn_down = true;
        if self.process.is_some() {
            self.cli(&["teardown"]).success();
            self.stop();
        } else {
            let mut words = vec!["teardown".to_owned(), "--force".to_owned()];
            words.extend(self.directories());
            self.cli(&words).success();
        }
        let links = self.host.exec("ip -o link show");
        let left = links
            .lines()
            .find(|line| line.contains("npb-") || line.contains("npv-"));
        assert_eq!(left, None, "a device is left after teardown");
        assert_eq!(
            pin_names(&self.bpf_dir()),
            [""; 0].map(PathBuf::from),
            "pins"
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let run_dir = self.run_dir();
        let run_dir = run_dir.to_string_lossy();
        let left = mounts.lines().find(|line| line.contains(&*run_dir));
        assert_eq!(left, None, "a mount is left after teardown");
        assert!(!self.socket().exists(), "the socket is left after teardown");
    }

    fn launch(&mut self) {
        let mut words = vec!["daemon".to_owned()];
        words.extend(self.directories());
        if !self.arguments.iter().any(|word| word == "--cgroup") {
            let cgroup = self.host.cgroup().expect("a host with a cgroup of its own");
            words.extend(["--cgroup".to_owned(), cgroup.display().to_string()]);
        }
        if let Ok(mode) = env::var("NETPATH_TEST_ATTACH")
            && !self
                .arguments
                .iter()
                .any(|word| word.starts_with("--attach"))
        {
            words.extend(["--attach".to_owned(), mode]);
        }
        words.extend(self.arguments.iter().cloned());
        self.process = Some(self.spawn(&words));
    }

    fn directories(&self) -> Vec<String> {
        [
            ("--run-dir", self.run_dir()),
            ("--state-dir", self.state_dir()),
            ("--bpf-dir", self.bpf_dir()),
        ]
        .into_iter()
        .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
        .collect()
    }

    fn words(&self, arguments: &[impl AsRef<str>]) -> Vec<String> {
        let mut words = vec![
            self.binary.display().to_string(),
            "--socket".to_owned(),
            self.socket().display().to_string(),
        ];
        words.extend(arguments.iter().map(|word| word.as_ref().to_owned()));
        words
    }

    fn bpffs(&self) -> PathBuf {
        self.directory.path().join("bpf")
    }

    /// Kills the daemon and unmounts all file systems below its directory. Devices disappear with the host's namespace.
    fn clean(&mut self) {
        self.process = None;
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = self.directory.path().to_string_lossy();
        let below = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|path| path.starts_with(&*own));
        for path in below.collect::<Vec<_>>().into_iter().rev() {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

impl DaemonBuilder {
    /// Adds an argument of `netpath daemon`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets the text of the configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        self.files
            .push(("netpath.toml".to_owned(), toml.to_owned()));
        self
    }

    /// Runs another program than the one under test, such as an older version.
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// Starts the daemon and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Daemon {
        let mut daemon = self.start_unready();
        daemon.wait_ready();
        daemon
    }

    /// Starts the daemon without waiting.
    pub fn start_unready(mut self) -> Daemon {
        let directory = TempDir::with_prefix("npt-daemon-").expect("temporary directory");
        for name in ["run", "state", "bpf"] {
            fs::create_dir(directory.path().join(name)).expect("directory");
        }
        for (name, text) in &self.files {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("file");
            self.arguments
                .extend(["--config".to_owned(), path.display().to_string()]);
        }
        let mut daemon = Daemon {
            host: self.host,
            binary: self.binary.unwrap_or_else(netpath_binary),
            arguments: self.arguments,
            process: None,
            directory,
            torn_down: false,
        };
        let bpf = Some("bpf");
        mount(bpf, &daemon.bpffs(), bpf, MsFlags::empty(), None::<&str>).expect("bpffs");
        daemon.launch();
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.torn_down && !thread::panicking() {
            // The file systems are unmounted even if a check fails.
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.tear_down();
            }));
            self.clean();
            if let Err(panic) = checked {
                std::panic::resume_unwind(panic);
            }
        } else {
            self.clean();
        }
    }
}
