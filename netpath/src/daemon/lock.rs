//! One daemon for one run directory.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use nix::fcntl::{Flock, FlockArg};

use super::DaemonError;

/// Takes the run directory, making it if need be. It is free again when the lock is dropped or the process ends.
///
/// # Errors
/// If another daemon has it, or it cannot be made.
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
