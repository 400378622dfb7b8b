//! Why the daemon cannot start or do what it is asked.

use std::{io, path::PathBuf};

use crate::{
    api::{service::ApiError, socket::BindError},
    datapath::DatapathError,
    kernel,
    model::request::{ErrorKind, RequestError},
    reconcile::ReconcileError,
    store::{StoreError, objects::ObjectError},
};

/// An error of the daemon as a whole.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon has the run directory.
    #[error("another daemon uses {}; stop it, or choose another --run-dir", .0.display())]
    Running(PathBuf),
    /// A file or directory could not be handled.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel is too old.
    #[error("Linux {found} is too old; netpath needs {}.{} or later", needed.0, needed.1)]
    OldKernel {
        /// As it is.
        found: String,
        /// As it must be, major and minor number.
        needed: (u32, u32),
    },
    /// Capabilities are missing.
    #[error("missing {0}; run the daemon as root, or give its unit these capabilities")]
    Capability(String),
    /// There is no cgroup v2.
    #[error(
        "no cgroup v2 is mounted; mount one with 'mount -t cgroup2 none /sys/fs/cgroup', or name a directory with --cgroup"
    )]
    NoCgroup,
    /// The named cgroup is none.
    #[error("{} is not a directory of a cgroup v2 file system; name one with --cgroup", .0.display())]
    NotCgroup(PathBuf),
    /// The API's socket cannot be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The runtime refuses to wait for signals or tasks.
    #[error("cannot {action}: {source}")]
    Runtime {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A network cannot be made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The node is torn down.
    #[error("everything of this node has been torn down; the daemon is about to end")]
    TornDown,
    /// What is stored makes no sense.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel refuses something.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Programs and maps.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// Observing or executing fails.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The state contradicts a change that was made from it.
    #[error(transparent)]
    State(#[from] crate::model::state::StateError),
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        let hint = error.hint();
        let plain = match error.kind() {
            ErrorKind::Invalid | ErrorKind::Unsupported => Self::invalid(message),
            ErrorKind::NotFound => Self::not_found(message),
            ErrorKind::Conflict => Self::conflict(message),
        };
        if hint.is_empty() {
            plain
        } else {
            plain.hint(hint)
        }
    }
}

impl From<DaemonError> for ApiError {
    fn from(error: DaemonError) -> Self {
        let retry = match &error {
            DaemonError::Request(_) => false,
            DaemonError::Kernel(error) => error.can_retry(),
            DaemonError::Datapath(error) => error.can_retry(),
            DaemonError::Reconcile(error) => error.can_retry(),
            DaemonError::TornDown => {
                return Self::unavailable(error.to_string()).hint("start the daemon again");
            }
            _ => false,
        };
        match error {
            DaemonError::Request(error) => error.into(),
            error if retry => Self::unavailable(error.to_string()).hint("try again"),
            error => {
                Self::internal(error.to_string()).hint("see the daemon's log and 'netpath doctor'")
            }
        }
    }
}
