//! Log lines of the programs, in debugging builds only: each line costs hundreds of instructions.

use std::os::fd::AsFd as _;

use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

use super::{Datapath, DatapathError};

impl Datapath {
    /// Forwards the programs' log lines to the daemon's log, in a task of the current runtime.
    ///
    /// # Errors
    /// If the object was built without the feature `trace`.
    pub fn start_trace(&mut self) -> Result<(), DatapathError> {
        let mut logger = EbpfLogger::init(&mut self.ebpf)
            .map_err(|error| DatapathError::Missing(format!("log: {error}")))?;
        let wake = logger.as_fd().try_clone_to_owned();
        let wake = wake.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE));
        let wake = wake.map_err(|source| DatapathError::Syscall {
            call: "epoll",
            object: "log".to_owned(),
            source,
        })?;
        tokio::spawn(async move {
            while let Ok(mut ready) = wake.readable().await {
                logger.flush();
                ready.clear_ready();
            }
        });
        Ok(())
    }
}
