//! The lock of the run directory: one daemon per run directory.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use nix::fcntl::{Flock, FlockArg};

use super::DaemonError;

/// Locks the run directory, and creates it if it does not exist. The lock is released when it is dropped or when the
/// process ends.
///
/// # Errors
/// If another daemon holds the lock, or the directory cannot be created.
pub fn take(run_dir: &Path) -> Result<Flock<File>, DaemonError> {
    fs::create_dir_all(run_dir).map_err(|source| file_error("create", run_dir, source))?;
    let path = run_dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| file_error("open", &path, source))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(DaemonError::Running(run_dir.to_owned())),
        Err((_, errno)) => Err(file_error("lock", &path, errno.into())),
    }
}

pub(super) fn file_error(action: &'static str, path: &Path, source: io::Error) -> DaemonError {
    DaemonError::File {
        action,
        path: path.to_owned(),
        source,
    }
}
