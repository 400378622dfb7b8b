//! The output of a program that has ended.

use std::process;

/// Exit status and output of a program.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for failure messages.
    pub command: String,
    /// Exit status; `None` if a signal terminated the program.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output. Panics unless the program succeeded.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(
            self.status,
            Some(0),
            "{}\nstdout: {}\nstderr: {}",
            self.command,
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// Standard error. Panics unless the program ended with this status.
    #[track_caller]
    pub fn failure(self, status: i32) -> String {
        assert_eq!(
            self.status,
            Some(status),
            "{}\nstdout: {}\nstderr: {}",
            self.command,
            self.stdout,
            self.stderr
        );
        self.stderr
    }

    pub(crate) fn new(command: String, output: process::Output) -> Self {
        Self {
            command,
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
