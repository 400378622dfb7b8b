//! Errors of commands.

use super::NamespaceError;
use crate::{
    datapath::{DatapathError, read::ReadError},
    kernel,
    model::{
        Name,
        request::{self, RequestError},
        state::{StateError, Unknown},
    },
    reconcile::ReconcileError,
    store::{StoreError, objects::ObjectError},
};

/// Why a command fails. The state is unchanged unless stated otherwise.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The request is refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The namespace to adopt cannot be used.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A process runs in the sandbox to remove.
    #[error("process {pid} runs in sandbox '{name}'")]
    Running {
        /// Name of the sandbox.
        name: Name,
        /// PID of the process.
        pid: i32,
    },
    /// A change failed and its reversal cannot be stored. The change stays stored.
    #[error("{error}; the change stays stored, because its reversal cannot be stored: {reversal}")]
    NotReversed {
        /// Why the change failed.
        error: Box<CommandError>,
        /// Why the reversal cannot be stored.
        reversal: Box<CommandError>,
    },
    /// Another node of the cluster has the name of this one.
    #[error(
        "another node of the cluster has the name '{name}'{}",
        if *.alive { ", and it is running" } else { "; it is not running" }
    )]
    NodeNameTaken {
        /// The name.
        name: Name,
        /// Whether the other node is running.
        alive: bool,
    },
    /// The request needs addresses of an overlay network, but this node is no member of the cluster.
    #[error(
        "node '{name}' is no member of the cluster: it was removed, or another node has its name"
    )]
    NotMember {
        /// Name of this node.
        name: Name,
    },
    /// The node was torn down and accepts no commands.
    #[error("the node was torn down and the daemon is stopping")]
    TornDown,
    /// A stored object is invalid.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel refused an operation.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A program or a map failed.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The node cannot be observed, or an operation failed.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The change does not fit the state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A map cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is invalid.
    Invalid,
    /// An object that it names does not exist.
    NotFound,
    /// It conflicts with an existing object.
    Conflict,
    /// A later attempt may succeed.
    Unavailable,
    /// netpath or the kernel failed.
    Internal,
}

impl From<Unknown> for CommandError {
    fn from(error: Unknown) -> Self {
        Self::Request(error.into())
    }
}

impl CommandError {
    /// Kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        let retry = match self {
            Self::Request(error) => {
                return match error.kind() {
                    request::ErrorKind::Invalid | request::ErrorKind::Unsupported => {
                        ErrorKind::Invalid
                    }
                    request::ErrorKind::NotFound => ErrorKind::NotFound,
                    request::ErrorKind::Conflict => ErrorKind::Conflict,
                };
            }
            Self::Namespace(error) => return error.kind(),
            Self::Object(ObjectError::Changed { .. })
            | Self::Running { .. }
            | Self::NodeNameTaken { .. }
            | Self::NotMember { .. } => {
                return ErrorKind::Conflict;
            }
            Self::Object(ObjectError::Store(
                StoreError::Conflict { .. } | StoreError::Held { .. },
            ))
            | Self::Store(StoreError::Conflict { .. } | StoreError::Held { .. }) => {
                return ErrorKind::Conflict;
            }
            Self::TornDown => return ErrorKind::Unavailable,
            Self::NotReversed { reversal, .. } => return reversal.kind(),
            _ if self.is_name_taken() => return ErrorKind::Conflict,
            Self::Kernel(error) => error.can_retry(),
            Self::Datapath(error) => error.can_retry(),
            Self::Reconcile(error) => error.can_retry(),
            Self::Object(_) | Self::Store(_) => {
                self.store_failure().is_some_and(StoreError::can_retry)
            }
            Self::State(_) | Self::Read(_) => false,
        };
        if retry {
            ErrorKind::Unavailable
        } else {
            ErrorKind::Internal
        }
    }

    /// Whether the cause is an interface name that another program uses in the namespace.
    fn is_name_taken(&self) -> bool {
        let mut error = match self {
            Self::Reconcile(error) => error,
            Self::Kernel(error) => return matches!(error, kernel::Error::NameTaken { .. }),
            _ => return false,
        };
        while let ReconcileError::Operation { source, .. } = error {
            error = source;
        }
        matches!(
            error,
            ReconcileError::Kernel(kernel::Error::NameTaken { .. })
        )
    }

    /// The failure of the store, if it is the cause.
    pub(super) fn store_failure(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) | Self::Object(ObjectError::Store(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether the store could not be written: not because another writer was faster.
    pub(super) fn is_unwritable(&self) -> bool {
        self.kind() != ErrorKind::Conflict && self.store_failure().is_some()
    }

    /// What the user can do; `None` if there is no advice.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Request(error) => Some(error.hint()).filter(|hint| !hint.is_empty()),
            Self::Namespace(error) => error.hint().map(str::to_owned),
            Self::Running { .. } => Some("stop the process, or force the removal".to_owned()),
            Self::NotReversed { reversal, .. } => reversal.hint(),
            Self::NodeNameTaken { name, .. } => Some(format!(
                "choose another --node; if the other one no longer exists, remove it with 'netpath node rm {name}' on another \
                 node"
            )),
            Self::TornDown | Self::NotMember { .. } => Some("restart the daemon".to_owned()),
            Self::Read(_) | Self::Object(ObjectError::Changed { .. }) => None,
            _ if self.is_name_taken() => {
                Some("rename or remove the other interface in the namespace".to_owned())
            }
            Self::Store(StoreError::Conflict { .. } | StoreError::Held { .. })
            | Self::Object(ObjectError::Store(StoreError::Conflict { .. } | StoreError::Held { .. })) => None,
            Self::Store(StoreError::Away { .. } | StoreError::Remote(_))
            | Self::Object(ObjectError::Store(StoreError::Away { .. } | StoreError::Remote(_))) => Some(
                "see 'netpath status'; changes of objects of this node need no distributed store"
                    .to_owned(),
            ),
            Self::Store(_) | Self::Object(ObjectError::Store(_)) => Some(
                "check that the file system of the state directory is writable and has free space, and try again"
                    .to_owned(),
            ),
            _ if self.kind() == ErrorKind::Unavailable => Some("try again".to_owned()),
            _ => Some("see the daemon's log and 'netpath doctor'".to_owned()),
        }
    }
}
