//! Commands that tasks of the daemon run: reconcile, sweep, the application of other writers' commits, and the removal
//! of sandboxes that have ended.

use super::{Action, CommandError, Commands, Node, ObjectKind};
use crate::{
    datapath::{DatapathError, sweep::Swept},
    kernel::{Event, VETH_PREFIX, is_own_device},
    model::{Id, ProcessId},
    reconcile::{Datapath, Depth, Kernel},
    store::Revision,
};

/// Number of operations that a reconcile required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired(pub usize);

impl<K: Kernel, D: Datapath> Commands<K, D> {
    /// Reconciles the node, without the container links. A torn-down node is not reconciled.
    ///
    /// # Errors
    /// If the node cannot be observed.
    pub async fn reconcile(&self) -> Result<Repaired, CommandError> {
        let mut node = self.shared.node.lock().await;
        if node.torn_down {
            return Ok(Repaired(0));
        }
        // A sandbox whose namespace was removed is removed too. A reconcile would replace the namespace by an empty
        // one.
        if self.remove_ended(&mut node).await {
            self.wake().sandboxes.notify_one();
        }
        node.release_unused().await;
        let before = node.facts.facts.host_addresses.clone();
        let outcome = node.reconcile(Depth::Outside, &self.config().uplinks).await;
        if before != node.facts.facts.host_addresses {
            self.wake().sweep.notify_one();
        }
        let operations = outcome?.operations;
        if !operations.is_empty() {
            let lines: Vec<_> = operations.iter().map(ToString::to_string).collect();
            let name = self.config().node.as_str();
            let message = Some(lines.join("; "));
            self.emit(Action::Repaired, ObjectKind::Node, name, message);
        }
        Ok(Repaired(operations.len()))
    }

    /// Applies a commit of another writer of the store. Commits of this daemon are ignored.
    ///
    /// # Errors
    /// If the store cannot be read, its objects are invalid, or the node cannot be observed.
    pub async fn follow_store(&self, revision: Revision) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        if node.torn_down {
            return Ok(());
        }
        if node.follow_store(revision, &self.config().uplinks).await? {
            self.wake().sandboxes.notify_one();
            self.wake().sweep.notify_one();
        }
        Ok(())
    }

    /// Attaches the programs of the device with this index and name, if it is an interface of the node that has none yet.
    ///
    /// # Errors
    /// If the device cannot be read, or a program cannot be attached.
    pub async fn attach_interface(&self, index: u32, name: &str) -> Result<(), CommandError> {
        if is_own_device(name) {
            return Ok(());
        }
        let mut node = self.shared.node.lock().await;
        if node.torn_down || node.is_interface(index, name) {
            return Ok(());
        }
        node.attach_interface(index, &self.config().uplinks).await
    }

    /// Whether a kernel event requires a reconcile before the next periodic one. A change of netpath's own devices
    /// other than removal does not: the event does not say whether netpath made it.
    pub async fn may_require_reconcile(&self, event: &Event) -> bool {
        let (name, gone) = match event {
            Event::LinkChanged { name, gone, .. } => (name, gone),
            // netpath itself detaches programs from its own devices.
            Event::FilterRemoved { index } => {
                let node = self.shared.node.lock().await;
                let mut devices = node.facts.devices.iter();
                return devices
                    .any(|device| device.index == *index && device.role.header().is_some());
            }
            // Neither the desired state nor a fact of the node depends on rules and routes to prefixes.
            Event::RuleChanged | Event::PrefixRouteChanged => return false,
            _ => return true,
        };
        if !is_own_device(name) {
            return true;
        }
        // netpath itself creates and changes its devices. The removal of a device requires a reconcile if the state has
        // it.
        let node = self.shared.node.lock().await;
        *gone
            && if name.starts_with(VETH_PREFIX) {
                let mut endpoints = node
                    .state()
                    .sandboxes()
                    .flat_map(|sandbox| &sandbox.endpoints);
                endpoints.any(|endpoint| endpoint.host_interface() == *name)
            } else {
                let mut networks = node.state().networks();
                networks.any(|network| network.has_endpoints() && network.bridge() == *name)
            }
    }

    /// Removes every sandbox whose process or namespace has ended. Returns the processes of the other sandboxes.
    pub async fn remove_ended_sandboxes(&self) -> Vec<(Id, ProcessId)> {
        let mut node = self.shared.node.lock().await;
        if node.torn_down {
            return Vec::new();
        }
        self.remove_ended(&mut node).await;
        node.watched_processes()
    }

    /// Removes every sandbox whose process or namespace has ended. Returns whether it has removed one.
    async fn remove_ended(&self, node: &mut Node<K, D>) -> bool {
        let mut removed = false;
        for name in node.ended_sandboxes() {
            match node.request(|state, _| state.remove_sandbox(&name)).await {
                Ok(_) => {
                    removed = true;
                    node.failures.note_success(name.as_str());
                    let message =
                        Some("its process has ended, or its namespace was removed".to_owned());
                    let name = name.as_str();
                    self.emit(Action::Removed, ObjectKind::Sandbox, name, message);
                }
                Err(error) => {
                    if node.failures.note_failure(name.as_str()) {
                        tracing::warn!(sandbox = %name, %error, "cannot remove a sandbox that has ended");
                    }
                }
            }
        }
        if removed {
            self.wake().sweep.notify_one();
            node.release_unused().await;
        }
        removed
    }
}

impl Commands {
    /// Makes every flow look up its route again if an event may have changed routes. Returns whether it may have.
    ///
    /// # Errors
    /// If the settings of the node cannot be read or written.
    pub async fn invalidate_routes(&self, event: &Event) -> Result<bool, DatapathError> {
        let may_change_routes = match event {
            // netpath creates and removes its own devices; no flow leaves the node by one.
            Event::LinkChanged { name, .. } => !is_own_device(name),
            Event::AddressChanged { .. }
            | Event::RouteChanged
            | Event::PrefixRouteChanged
            | Event::RuleChanged
            | Event::Lost => true,
            Event::FilterRemoved { .. } => false,
        };
        if may_change_routes {
            let mut node = self.shared.node.lock().await;
            node.reconciler.datapath.invalidate_routes()?;
        }
        Ok(may_change_routes)
    }

    /// Removes expired flows.
    ///
    /// # Errors
    /// If the flow table cannot be read or the program cannot be run.
    pub async fn sweep(&self) -> Result<Swept, DatapathError> {
        let mut node = self.shared.node.lock().await;
        let swept = tokio::task::block_in_place(|| node.reconciler.datapath.sweep());
        match &swept {
            Ok(_) => node.degraded.remove("sweep"),
            Err(error) => node
                .degraded
                .insert("sweep", format!("expired flows are not removed: {error}")),
        };
        node.watch_flow_pressure(&self.config().bpf_dir);
        swept
    }
}
