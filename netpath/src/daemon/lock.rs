//! Locks of the resources of a node: one daemon per run directory, state directory, pin directory and network
//! namespace.
//!
//! Every locked file can be opened only by root, so another user can neither hold a lock nor delay a start.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::DaemonError;
use crate::{config::Config, datapath::pins};

/// Name of the lock file of a run or state directory.
pub(super) const LOCK_FILE: &str = "lock";

/// A file that exists in each network namespace, with mode 0600: opening it requires `CAP_NET_ADMIN` in that namespace.
/// It has one inode per namespace. Its content is not used.
const NAMESPACE_FILE: &str = "/proc/sys/net/ipv4/tcp_fastopen_key";

/// A resource that one daemon uses at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `--run-dir`.
    RunDirectory,
    /// `--state-dir`.
    StateDirectory,
    /// `--bpf-dir`.
    PinDirectory,
    /// The network namespace of the daemon.
    Namespace,
}

/// Locks that are released when they are dropped or when the process ends.
pub struct Locks {
    _held: Vec<Flock<File>>,
}

impl Locks {
    /// Locks every resource of a daemon, and creates the directories that do not exist. The file system of the pin
    /// directory must be mounted.
    ///
    /// # Errors
    /// If another daemon holds a lock, or a file or directory cannot be used.
    pub fn take(config: &Config) -> Result<Self, DaemonError> {
        let mut held = vec![
            lock_directory(Resource::RunDirectory, &config.run_dir)?,
            lock_namespace()?,
            lock_directory(Resource::StateDirectory, &config.state_dir)?,
        ];
        make_pin_directory(&config.bpf_dir)?;
        held.push(lock_pins(&config.bpf_dir)?);
        Ok(Self { _held: held })
    }

    /// Locks the resources that a teardown without a daemon changes.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_for_teardown(config: &Config) -> Result<Self, DaemonError> {
        let mut held = vec![
            lock_directory(Resource::RunDirectory, &config.run_dir)?,
            lock_namespace()?,
        ];
        if pins::links_dir(&config.bpf_dir).exists() {
            held.push(lock_pins(&config.bpf_dir)?);
        }
        Ok(Self { _held: held })
    }
}

fn lock_namespace() -> Result<Flock<File>, DaemonError> {
    let path = Path::new(NAMESPACE_FILE);
    let file = File::open(path).map_err(|source| file_error("open", path, source))?;
    lock(file, Resource::Namespace, path)
}

fn lock_directory(resource: Resource, directory: &Path) -> Result<Flock<File>, DaemonError> {
    fs::create_dir_all(directory).map_err(|source| file_error("create", directory, source))?;
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|source| file_error("open", &path, source))?;
    // A file of an earlier version of netpath may be readable by every user.
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(|source| file_error("set the mode of", &path, source))?;
    lock(file, resource, directory)
}

fn make_pin_directory(bpf_dir: &Path) -> Result<(), DaemonError> {
    let links = pins::links_dir(bpf_dir);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&links);
    made.and_then(|()| fs::set_permissions(&links, Permissions::from_mode(0o700)))
        .map_err(|source| file_error("create", &links, source))
}

/// Locks the directory of links. The pin directory itself may be the root of a file system that other programs use.
fn lock_pins(bpf_dir: &Path) -> Result<Flock<File>, DaemonError> {
    let links = pins::links_dir(bpf_dir);
    let file = File::open(&links).map_err(|source| file_error("open", &links, source))?;
    lock(file, Resource::PinDirectory, bpf_dir)
}

fn lock(file: File, resource: Resource, path: &Path) -> Result<Flock<File>, DaemonError> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(DaemonError::Running {
            resource,
            path: path.to_owned(),
        }),
        Err((_, errno)) => Err(file_error("lock", path, errno.into())),
    }
}

pub(super) fn file_error(action: &'static str, path: &Path, source: io::Error) -> DaemonError {
    DaemonError::File {
        action,
        path: path.to_owned(),
        source,
    }
}
