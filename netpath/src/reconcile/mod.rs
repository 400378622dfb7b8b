//! Observe, plan, execute: brings the kernel and the maps to the desired state.
//!
//! ```text
//! Desired ─► observe (Kernel, Datapath) ─► plan ─► execute (Kernel, Datapath)
//! ```
//!
//! Each reconcile observes the state, so a missed event only delays a correction. The reconciler uses the traits
//! [`Kernel`] and [`Datapath`], which [`Host`] and [`crate::datapath::Datapath`] implement.

mod error;
mod host;
mod scope;
mod tables;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    datapath::DatapathError,
    kernel::{
        self, DeviceRole, NodeFacts,
        listeners::{Conflict, Published},
    },
    plan::{
        Attachment, Desired, Hook, Interface, Observed, Operation, plan,
        tables::{Addition, Removal},
    },
};

pub use error::ReconcileError;
pub use host::Host;
pub use scope::{Depth, Scope};

/// Devices, addresses, routes and namespaces.
pub trait Kernel: Send {
    /// Reads the facts of the node: its addresses and interfaces. `uplinks` are the names of those that serve published
    /// ports; every one if it is empty. `adopted` are the names of devices of other programs that netpath uses.
    ///
    /// # Errors
    /// If they cannot be read.
    fn facts(
        &self,
        uplinks: &[String],
        adopted: &BTreeSet<String>,
    ) -> impl Future<Output = Result<NodeFacts, kernel::Error>> + Send;

    /// The device with an index as an interface of the node; `None` if it does not exist or is no interface.
    ///
    /// # Errors
    /// If it cannot be read.
    fn interface(
        &self,
        index: u32,
        uplinks: &[String],
        adopted: &BTreeSet<String>,
    ) -> impl Future<Output = Result<Option<(DeviceRole, Interface)>, kernel::Error>> + Send;

    /// Adds netpath's bridges, veth pairs and namespaces that are in `scope` to `observed`.
    ///
    /// # Errors
    /// If they cannot be read.
    fn observe(
        &self,
        scope: &Scope<'_>,
        observed: &mut Observed,
    ) -> impl Future<Output = Result<(), kernel::Error>> + Send;

    /// Executes one operation on a device or namespace. Idempotent; removing what does not exist succeeds.
    ///
    /// # Errors
    /// If the kernel refuses it.
    fn execute(
        &mut self,
        operation: &Operation,
    ) -> impl Future<Output = Result<(), kernel::Error>> + Send;

    /// Sockets of the node that hold published ports.
    ///
    /// # Errors
    /// If they cannot be read.
    fn port_conflicts(&self, published: &[Published]) -> Result<Vec<Conflict>, kernel::Error>;

    /// Aborts UDP sockets of the node that are connected to addresses of removed endpoints.
    fn abort_connected(&mut self, addresses: &[IpAddr]);
}

/// Programs and maps.
pub trait Datapath: Send {
    /// Adds the map entries that are in `scope` to `observed`.
    ///
    /// # Errors
    /// If a map cannot be read.
    fn observe(&self, scope: &Scope<'_>, observed: &mut Observed) -> Result<(), DatapathError>;

    /// Executes an operation on map entries, pins of maps or socket programs. Idempotent; removing what does not exist
    /// succeeds.
    ///
    /// # Errors
    /// If a map cannot be written or pinned, or a program cannot be attached.
    fn execute(&mut self, operation: &Operation) -> Result<(), DatapathError>;

    /// Attaches a program to a device, or updates the attached one.
    ///
    /// # Errors
    /// If the kernel refuses it.
    fn attach(&mut self, attachment: &Attachment) -> Result<(), DatapathError>;

    /// Detaches a program.
    ///
    /// # Errors
    /// If the pin cannot be removed.
    fn detach(&mut self, attachment: &Attachment) -> Result<(), DatapathError>;

    /// Whether the loaded version of the program is attached.
    ///
    /// # Errors
    /// If the pin cannot be read.
    fn is_attached(&mut self, attachment: &Attachment) -> Result<bool, DatapathError>;

    /// Attachments that have a pin.
    ///
    /// # Errors
    /// If the pins cannot be read.
    fn pinned_attachments(&self) -> Result<Vec<Attachment>, DatapathError>;

    /// Pins of maps and attachments of socket programs that are missing, as operations that restore them.
    ///
    /// # Errors
    /// If the attachments cannot be read.
    fn missing(&mut self) -> Result<Vec<Operation>, DatapathError>;
}

/// Observes the node, and executes the plans that follow from it.
pub struct Reconciler<K = Host, D = crate::datapath::Datapath> {
    /// Devices, addresses, routes and namespaces.
    pub kernel: K,
    /// Programs and maps.
    pub datapath: D,
}

/// Result of [`Reconciler::reconcile`].
#[derive(Debug, Default)]
pub struct Outcome {
    /// Operations that were needed, in the order of their execution.
    pub operations: Vec<Operation>,
    /// Errors of the operations that failed.
    pub errors: Vec<ReconcileError>,
}

impl<K: Kernel, D: Datapath> Reconciler<K, D> {
    /// Applies a change of objects from `before` to `after`. Observes only these objects. Stops at the first operation that
    /// fails; the caller reverses the operations before it with the reverse change.
    ///
    /// # Errors
    /// The objects cannot be observed, or an operation failed.
    pub async fn apply(
        &mut self,
        before: &Desired,
        after: &Desired,
    ) -> Result<Vec<Operation>, ReconcileError> {
        let observed = self.observe(&Scope::Change { before, after }).await?;
        let operations = plan(after, &observed);
        for operation in &operations {
            tracing::debug!(%operation, "execute");
            self.execute(operation).await?;
        }
        Ok(operations)
    }

    /// Observes all objects of netpath, container links only with [`Depth::Inside`], and corrects differences from
    /// `desired`. If an operation fails, the following ones are executed nevertheless.
    ///
    /// # Errors
    /// If the node cannot be observed.
    pub async fn reconcile(
        &mut self,
        desired: &Desired,
        depth: Depth,
    ) -> Result<Outcome, ReconcileError> {
        let observed = self.observe(&Scope::All { desired, depth }).await?;
        let mut operations = self.datapath.missing()?;
        operations.extend(plan(desired, &observed));
        let mut errors = Vec::new();
        for operation in &operations {
            tracing::info!(%operation, "repair");
            if let Err(error) = self.execute(operation).await {
                tracing::warn!(%error, "repair failed");
                errors.push(error);
            }
        }
        Ok(Outcome { operations, errors })
    }

    async fn observe(&mut self, scope: &Scope<'_>) -> Result<Observed, ReconcileError> {
        let mut observed = Observed::default();
        self.kernel.observe(scope, &mut observed).await?;
        self.datapath.observe(scope, &mut observed)?;
        let wanted = scope.attachments();
        let pinned: BTreeSet<_> = if scope.is_all() {
            self.datapath.pinned_attachments()?.into_iter().collect()
        } else {
            BTreeSet::new()
        };
        for attachment in wanted.union(&pinned) {
            // An attachment that is not desired is observed even if its program does not run, so that its pin is removed.
            let stale = !wanted.contains(attachment);
            if stale || self.datapath.is_attached(attachment)? {
                observed.attached.insert(attachment.clone());
            }
        }
        Ok(observed)
    }

    async fn execute(&mut self, operation: &Operation) -> Result<(), ReconcileError> {
        let executed = self.dispatch(operation).await;
        executed.map_err(|source| ReconcileError::Operation {
            operation: operation.to_string(),
            source: Box::new(source),
        })
    }

    async fn dispatch(&mut self, operation: &Operation) -> Result<(), ReconcileError> {
        match operation {
            Operation::Attach(attachment) => self.datapath.attach(attachment)?,
            Operation::Detach(attachment) => self.datapath.detach(attachment)?,
            Operation::DeleteVeth { .. }
            | Operation::DeleteNamespace(_)
            | Operation::DeleteBridge { .. }
            | Operation::SetBridge { .. }
            | Operation::CreateNamespace(_)
            | Operation::CreateVeth { .. }
            | Operation::SetVeth { .. }
            | Operation::SetInside { .. }
            | Operation::RestoreInside { .. }
            | Operation::SetInsideMtu { .. }
            | Operation::MoveGateway { .. } => self.kernel.execute(operation).await?,
            Operation::Put(Addition::Interfaces(interfaces)) => {
                for (name, interface) in interfaces {
                    self.check_programs(name, interface)?;
                }
                self.datapath.execute(operation)?;
            }
            Operation::Remove(Removal::Addresses(addresses)) => {
                self.datapath.execute(operation)?;
                self.kernel.abort_connected(addresses);
            }
            Operation::Put(_)
            | Operation::Remove(_)
            | Operation::PinMap { .. }
            | Operation::AttachSocket { .. } => self.datapath.execute(operation)?,
        }
        Ok(())
    }

    /// Fails unless the programs of an interface are attached. Endpoint programs redirect to an interface as soon as its
    /// entry exists, so its own programs must be attached before.
    fn check_programs(&mut self, name: &str, interface: &Interface) -> Result<(), ReconcileError> {
        for hook in [Hook::UplinkEgress, Hook::UplinkIngress] {
            let attachment = Attachment {
                interface: name.to_owned(),
                hook,
                header: interface.header,
            };
            if !self.datapath.is_attached(&attachment)? {
                return Err(ReconcileError::NotAttached {
                    interface: name.to_owned(),
                    hook,
                });
            }
        }
        Ok(())
    }
}
