//! Processes that run during a test.

use std::{
    fs::File,
    io::Read,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tempfile::NamedTempFile;

use crate::{Netns, Transport, slowdown};

/// A process. Dropping the guard kills its process group. Its output is written to a file, so that it never blocks, and
/// is shown if the test panics.
#[derive(Debug)]
pub struct Process {
    command: String,
    child: Child,
    output: NamedTempFile,
}

impl Process {
    /// The process identifier.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What the process has written to standard output and standard error.
    pub fn output(&self) -> String {
        let mut bytes = Vec::new();
        File::open(self.output.path())
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .expect("output");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The exit status if the process has ended; `Some(None)` if a signal terminated it.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        let status = self.child.try_wait().expect("wait");
        status.map(|status| status.code())
    }

    /// Waits for the end of the process and returns its exit status; panics after `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                start.elapsed() < limit,
                "{} still runs after {limit:?}:\n{}",
                self.command,
                self.output()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the process has written `text`. Panics after ten seconds, or when the process ends.
    #[track_caller]
    pub fn wait_for_output(&mut self, text: &str) {
        self.wait_until(&format!("written '{text}'"), |process| {
            process.output().contains(text)
        });
    }

    /// Waits until a port of `netns` is in use. Panics after ten seconds, or when the process ends.
    #[track_caller]
    pub fn wait_for_port(&mut self, netns: &Netns, transport: Transport, port: u16) {
        self.wait_until(&format!("opened {transport:?} port {port}"), |_| {
            netns.listens(transport, port)
        });
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("kill");
    }

    pub(crate) fn start(command: String, mut prepared: Command) -> Self {
        let output = NamedTempFile::with_prefix("npt-output-").expect("output file");
        let append = || {
            let file = File::options().append(true).open(output.path());
            Stdio::from(file.expect("output file"))
        };
        let child = prepared
            // A process group of its own, so that child processes are killed with it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(append())
            .stderr(append())
            .spawn()
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        Self {
            command,
            child,
            output,
        }
    }

    #[track_caller]
    fn wait_until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            let ended = self.ended();
            assert!(
                ended.is_none() || condition(self),
                "{} ended with {ended:?} before it had {what}:\n{}",
                self.command,
                self.output()
            );
            assert!(
                start.elapsed() < Duration::from_secs(10) * slowdown(),
                "{} has not {what}:\n{}",
                self.command,
                self.output()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process group may have ended already.
        let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- output of {}\n{}---", self.command, self.output());
        }
    }
}
