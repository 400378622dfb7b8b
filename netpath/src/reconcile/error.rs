//! Errors of the reconciler.

use crate::{datapath::DatapathError, kernel, plan::Hook};

/// Why the node cannot be observed, or an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A request to the kernel failed.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// An access to programs or maps failed.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// An interface lacks a program.
    #[error("interface {interface} has no program at {hook} yet")]
    NotAttached {
        /// Name of the interface.
        interface: String,
        /// Hook without a program.
        hook: Hook,
    },
    /// An operation failed.
    #[error("{operation}: {source}")]
    Operation {
        /// Text of the operation.
        operation: String,
        /// Cause.
        source: Box<ReconcileError>,
    },
}

impl ReconcileError {
    /// Whether a later attempt may succeed without a change by the user.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Kernel(error) => error.can_retry(),
            Self::Datapath(error) => error.can_retry(),
            Self::NotAttached { .. } => true,
            Self::Operation { source, .. } => source.can_retry(),
        }
    }
}
