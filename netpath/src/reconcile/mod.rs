//! Observe, plan, execute: brings the kernel and the maps to what is wanted.
//!
//! Level-triggered: what is there is looked at each time, so it does not matter what happened in between, or how often.
//! [`Reconciler::apply`] looks at the objects of one change only; [`Reconciler::reconcile`] at everything that is ours.

mod execute;
mod observe;

use std::path::PathBuf;

use crate::{
    datapath::{Datapath, DatapathError},
    kernel::{self, Kernel},
    plan::{Desired, Hook, Operation, plan},
};

/// The hands and eyes of the daemon.
pub struct Reconciler {
    /// Devices, addresses, namespaces.
    pub kernel: Kernel,
    /// Programs and maps.
    pub datapath: Datapath,
    /// Where namespaces are mounted.
    pub netns_dir: PathBuf,
}

/// Why something could not be observed or executed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Of the kernel.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Of programs and maps.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// An uplink lacks a program.
    #[error("{uplink} has no program at {hook} yet")]
    NotAttached {
        /// Its interface name.
        uplink: String,
        /// Where.
        hook: Hook,
    },
    /// An operation failed.
    #[error("{operation}: {source}")]
    Operation {
        /// Which.
        operation: String,
        /// Why.
        source: Box<ReconcileError>,
    },
}

impl ReconcileError {
    /// Whether the same may succeed later without anybody changing anything.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Kernel(error) => error.can_retry(),
            Self::Datapath(error) => error.can_retry(),
            Self::NotAttached { .. } => true,
            Self::Operation { source, .. } => source.can_retry(),
        }
    }
}

/// What a comparison with everything came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What had to be done.
    pub operations: Vec<Operation>,
    /// What of it failed.
    pub errors: Vec<ReconcileError>,
}

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// At the node's own namespace and the maps.
    Outside,
    /// Into every sandbox too.
    Inside,
}

impl Reconciler {
    /// Turns the objects of one change from `before` into `after`; stops at the first operation that fails.
    ///
    /// # Errors
    /// That of the operation; what was done before it stays, and the reverse change takes it back.
    pub async fn apply(
        &mut self,
        before: &Desired,
        after: &Desired,
    ) -> Result<Vec<Operation>, ReconcileError> {
        let observed = self.observe_part(before, after).await?;
        let operations = plan(after, &observed);
        for operation in &operations {
            tracing::debug!(%operation, "execute");
            self.execute(operation).await?;
        }
        Ok(operations)
    }

    /// Compares everything that is ours with what is wanted, and repairs it. Goes on behind operations that fail.
    ///
    /// # Errors
    /// If it cannot even be observed.
    pub async fn reconcile(
        &mut self,
        desired: &Desired,
        depth: Depth,
    ) -> Result<Outcome, ReconcileError> {
        let observed = self.observe_all(desired, depth).await?;
        let sockets = self.datapath.missing_sockets()?.into_iter();
        let sockets = sockets.map(|program| Operation::AttachSocket {
            program: program.to_owned(),
        });
        let maps = self.datapath.missing_maps().into_iter();
        let maps = maps.map(|map| Operation::PinMap { map });
        let mut outcome = Outcome {
            operations: maps
                .chain(sockets)
                .chain(plan(desired, &observed))
                .collect(),
            errors: Vec::new(),
        };
        for operation in &outcome.operations {
            tracing::info!(%operation, "repair");
            if let Err(error) = self.execute(operation).await {
                tracing::warn!(%error, "cannot repair");
                outcome.errors.push(error);
            }
        }
        Ok(outcome)
    }
}
