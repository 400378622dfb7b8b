//! Stops a process of a sandbox.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};

use crate::kernel::{self, process};

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// Time in which the process must end after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Why a process is not stopped.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum StopError {
    /// The process cannot be opened, or the signal cannot be sent.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Waiting for its end failed.
    #[error("cannot wait for process {pid}: poll: {source}")]
    Wait {
        /// Process id.
        pid: i32,
        /// Cause.
        source: io::Error,
    },
    /// It still runs after SIGKILL.
    #[error("process {0} still runs after SIGKILL")]
    Runs(i32),
}

/// A process to stop, identified by a descriptor, because its id may be reused.
pub(in crate::cli) struct Stop {
    pid: i32,
    /// `None` if it has ended.
    descriptor: Option<OwnedFd>,
}

impl Stop {
    /// The process that currently has this id.
    pub(in crate::cli) fn of(pid: i32) -> Result<Self, StopError> {
        Ok(Self {
            pid,
            descriptor: process::pidfd(pid)?,
        })
    }

    /// Sends SIGTERM, and SIGKILL if the process has not ended ten seconds later.
    pub(in crate::cli) fn stop(&self) -> Result<(), StopError> {
        let Some(descriptor) = &self.descriptor else {
            return Ok(());
        };
        for (signal, limit) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, KILL_WAIT)] {
            process::send_signal(descriptor, self.pid, signal)?;
            if self.wait(descriptor, limit)? {
                return Ok(());
            }
        }
        Err(StopError::Runs(self.pid))
    }

    /// Whether the process ends within the limit.
    fn wait(&self, descriptor: &OwnedFd, limit: Duration) -> Result<bool, StopError> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(errno) => Err(StopError::Wait {
                pid: self.pid,
                source: errno.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn running_process_is_stopped_and_ended_one_is_ok() {
        let mut child = Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Stop::of(child.id().cast_signed()).unwrap();
        process.stop().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        process.stop().unwrap();
    }
}
