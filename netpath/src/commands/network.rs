//! Commands on networks and their members.

use std::net::IpAddr;

use super::{
    Action, CommandError, Commands, NetworkView, Node, ObjectKind, SandboxView, overlay::Wanted,
};
use crate::{
    kernel::sysctl,
    model::{
        Caller, Change, Driver, Name, Rate,
        request::{AdoptedBridge, NetworkRequest, RequestError, route_warnings},
    },
    plan::AdoptedDevice,
};

/// A network to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// The request, without [`NetworkRequest::adopt`] and [`NetworkRequest::owner`].
    pub request: NetworkRequest,
    /// Interface name of a bridge that another program has created; netpath creates one if `None`.
    pub adopt: Option<String>,
}

impl Commands {
    /// Every network, by name.
    pub async fn networks(&self) -> Vec<NetworkView> {
        let node = self.shared.node.lock().await;
        let networks = node.state().all_networks();
        networks.map(|network| node.network_view(network)).collect()
    }

    /// One network. The sandboxes of an overlay network are those of all nodes, as far as the nodes have published them.
    ///
    /// # Errors
    /// If it does not exist.
    pub async fn network(&self, name: &Name) -> Result<NetworkView, CommandError> {
        let node = self.shared.node.lock().await;
        let mut view = node.network_view(node.state().known_network(name)?);
        if view.network.overlay.is_some() {
            // Not an error: the sandboxes of this node are known without the store.
            let remote = tokio::task::block_in_place(|| node.remote_sandboxes(name));
            view.sandboxes.extend(remote.unwrap_or_default());
            view.sandboxes.sort_unstable();
        }
        Ok(view)
    }

    /// Creates a network.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn create_network(
        &self,
        spec: NetworkSpec,
        caller: Caller,
    ) -> Result<NetworkView, CommandError> {
        let mut node = self.shared.node.lock().await;
        if spec.request.driver == Driver::Overlay {
            let request = NetworkRequest {
                owner: caller.owner,
                ..spec.request
            };
            return self.create_overlay(&mut node, &request).await;
        }
        let adopt = match &spec.adopt {
            Some(name) => Some(node.resolve_bridge(name).await?),
            None => None,
        };
        let request = NetworkRequest {
            adopt,
            owner: caller.owner,
            ..spec.request
        };
        let (change, routed) = node
            .evaluate_with_routes(|state, env| {
                Ok((state.create_network(&request, env)?, env.routed.to_vec()))
            })
            .await?;
        node.apply(&change).await?;
        self.reconcile_if_adopted(&change);
        let name = &request.name;
        self.emit(Action::Created, ObjectKind::Network, name.as_str(), None);
        let network = node.state().network(name)?;
        let warnings = route_warnings(&network.subnets, &routed);
        for warning in &warnings {
            tracing::warn!(network = %name, "{warning}");
        }
        Ok(NetworkView {
            warnings,
            ..node.network_view(network)
        })
    }

    /// Removes a network that has no endpoint.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn remove_network(&self, name: &Name, caller: Caller) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        if node.state().cluster().network(name).is_some() {
            node.state().check_network_owner(name, caller)?;
            return self.remove_overlay(&mut node, name).await;
        }
        let change = node
            .request(|state, _| {
                state.check_network_owner(name, caller)?;
                state.remove_network(name)
            })
            .await?;
        self.reconcile_if_adopted(&change);
        self.emit(Action::Removed, ObjectKind::Network, name.as_str(), None);
        Ok(())
    }

    /// A bridge is an interface of the node before its adoption and after the end of the adoption.
    fn reconcile_if_adopted(&self, change: &Change) {
        if let Change::Network { before, after } = change
            && before
                .iter()
                .chain(after)
                .any(|network| network.adopted.is_some())
        {
            self.wake().reconcile.notify_one();
        }
    }

    /// Connects a sandbox to a network.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn connect(
        &self,
        network: &Name,
        sandbox: &Name,
        ips: &[IpAddr],
        rate: Option<Rate>,
        caller: Caller,
    ) -> Result<SandboxView, CommandError> {
        let mut node = self.shared.node.lock().await;
        let interfaces = node.interfaces_of(sandbox).await?;
        let wanted = Wanted::one(network, ips);
        node.request_endpoints(&wanted, &interfaces, |state, env| {
            state.check_sandbox_owner(sandbox, caller)?;
            state.connect(network, sandbox, ips, rate, env)
        })
        .await?;
        let name = sandbox.as_str();
        self.emit(Action::Connected, ObjectKind::Sandbox, name, None);
        Ok(node.sandbox_view(node.state().sandbox(sandbox)?))
    }

    /// Disconnects a sandbox from a network; its flows there expire at once.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn disconnect(
        &self,
        network: &Name,
        sandbox: &Name,
        caller: Caller,
    ) -> Result<SandboxView, CommandError> {
        let mut node = self.shared.node.lock().await;
        node.request(|state, _| {
            state.check_sandbox_owner(sandbox, caller)?;
            state.disconnect(network, sandbox)
        })
        .await?;
        node.release_unused().await;
        self.wake().sweep.notify_one();
        let name = sandbox.as_str();
        self.emit(Action::Disconnected, ObjectKind::Sandbox, name, None);
        Ok(node.sandbox_view(node.state().sandbox(sandbox)?))
    }
}

impl Node {
    /// Reads the bridge of another program from the kernel, and adds it to the facts of the node.
    async fn resolve_bridge(&mut self, name: &str) -> Result<AdoptedBridge, CommandError> {
        let refused = |reason: &str| RequestError::AdoptBridge {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let kernel = &self.reconciler.kernel.kernel;
        let link = kernel.link(name).await?;
        let link = link.ok_or_else(|| refused("this host has no such interface"))?;
        let mac = link.mac.filter(|_| link.kind.as_deref() == Some("bridge"));
        let mac = mac.ok_or_else(|| refused("the interface is not a bridge"))?;
        let addresses = kernel.global_addresses(link.index).await?;
        let device = AdoptedDevice { mac, mtu: link.mtu };
        self.facts.facts.adopted.insert(name.to_owned(), device);
        Ok(AdoptedBridge {
            name: name.to_owned(),
            addresses,
            forwarding_v4: sysctl::forwards("ipv4", name),
            forwarding_v6: sysctl::forwards("ipv6", name),
        })
    }
}
