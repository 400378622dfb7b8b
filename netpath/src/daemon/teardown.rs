//! Teardown of a node without a daemon, and removal of the run directory.

use std::{fs, io, path::Path};

use super::{
    DaemonError,
    lock::{LOCK_FILE, Locks, file_error},
};
use crate::{
    commands,
    config::{Config, PINS_LINK},
    kernel::Kernel,
};

/// Removes netpath's kernel state and the run directory without a daemon.
///
/// # Errors
/// If a daemon runs, or the first removal that failed; the other removals are attempted too.
pub async fn teardown_forced(config: &Config) -> Result<(), DaemonError> {
    let locks = Locks::take_for_teardown(config)?;
    let kernel = Kernel::open()?;
    commands::remove_kernel_state(&kernel, config).await?;
    drop(locks);
    remove_run_dir(&config.run_dir)
}

/// Removes the run directory with the lock and the socket. A directory with other files is kept.
pub(super) fn remove_run_dir(run_dir: &Path) -> Result<(), DaemonError> {
    for name in [LOCK_FILE, "netpath.sock", PINS_LINK] {
        match fs::remove_file(run_dir.join(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(file_error("remove", &run_dir.join(name), source));
            }
            _ => {}
        }
    }
    match fs::remove_dir(run_dir) {
        // Removed already, or kept: a directory of systemd, a mount point, or one with files of another program.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOTEMPTY | libc::EBUSY | libc::ENOENT | libc::EACCES)
            ) =>
        {
            Ok(())
        }
        Err(source) => Err(file_error("remove", run_dir, source)),
        Ok(()) => Ok(()),
    }
}
