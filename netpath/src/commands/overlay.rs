//! Overlay networks: creation and removal in the cluster, and their use on this node.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;

use super::{Action, CommandError, Commands, NetworkView, Node, ObjectKind};
use crate::{
    kernel::Prefixes,
    model::{
        Change, Name, Network, State, derived_mac,
        request::{
            Env, NetworkChoice, NetworkRequest, RequestError, SandboxRequest, route_warnings,
        },
    },
    reconcile::{self, Kernel},
    store::objects::overlays,
};

/// Repeated operations of this module, for [`super::failures::Failures`]. No sandbox has such a name.
const RELEASE: &str = "release addresses of an overlay network";

/// Networks and addresses of the endpoints that a request creates.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The networks. Those that are not overlay networks are ignored.
    pub networks: Vec<Name>,
    /// Addresses in the first network.
    pub ips: Vec<IpAddr>,
}

impl Wanted {
    /// Those of a new sandbox.
    pub(super) fn of(request: &SandboxRequest) -> Self {
        let networks = request.networks.iter().filter_map(|choice| match choice {
            NetworkChoice::Network(name) => Some(name.clone()),
            NetworkChoice::Host | NetworkChoice::None | NetworkChoice::Container(_) => None,
        });
        Self {
            networks: networks.collect(),
            ips: request.ips.clone(),
        }
    }

    /// Those of an endpoint in one network.
    pub(super) fn one(network: &Name, ips: &[IpAddr]) -> Self {
        Self {
            networks: vec![network.clone()],
            ips: ips.to_vec(),
        }
    }
}

impl Commands {
    /// Creates an overlay network for all nodes of the cluster.
    pub(super) async fn create_overlay(
        &self,
        node: &mut Node,
        request: &NetworkRequest,
    ) -> Result<NetworkView, CommandError> {
        let prefixes = node.foreign_prefixes().await?;
        let network = tokio::task::block_in_place(|| node.store_overlay(request, &prefixes))?;
        node.apply_cluster().await?;
        let name = request.name.as_str();
        self.emit(Action::Created, ObjectKind::Network, name, None);
        let warnings = route_warnings(&network.subnets, &prefixes.routed);
        for warning in &warnings {
            tracing::warn!(network = %name, "{warning}");
        }
        Ok(NetworkView {
            warnings,
            ..node.network_view(&network)
        })
    }

    /// Removes an overlay network that no node uses.
    pub(super) async fn remove_overlay(
        &self,
        node: &mut Node,
        network: &Name,
    ) -> Result<(), CommandError> {
        let users: Vec<Name> = node.state().members(network).cloned().collect();
        if !users.is_empty() {
            return Err(RequestError::InUse {
                kind: "network",
                name: network.clone(),
                users,
            }
            .into());
        }
        node.release_unused().await;
        let name = node.name.clone();
        tokio::task::block_in_place(|| node.stored.remove_overlay(&name, network))?;
        node.apply_cluster().await?;
        self.emit(Action::Removed, ObjectKind::Network, network.as_str(), None);
        Ok(())
    }
}

impl Node {
    /// Chooses the properties of a new overlay network, and stores it.
    fn store_overlay(
        &mut self,
        request: &NetworkRequest,
        prefixes: &Prefixes,
    ) -> Result<Network, CommandError> {
        let network = overlays::create_network(self.stored.store().as_ref(), |ranges| {
            self.evaluate(prefixes, &[], |state, env| {
                state.new_overlay(request, ranges, env)
            })
        })?;
        self.stored.load_cluster(&self.name)?;
        Ok(network)
    }

    /// Evaluates a request that creates endpoints, and applies its change. Overlay networks are used on this node from then
    /// on, and addresses are claimed as needed.
    ///
    /// # Errors
    /// The request is refused, no address can be claimed, or the change failed and was reversed.
    pub(super) async fn request_endpoints(
        &mut self,
        wanted: &Wanted,
        interfaces: &[String],
        request: impl FnOnce(&State, &mut Env<'_>) -> Result<Change, RequestError>,
    ) -> Result<Change, CommandError> {
        let made = self.make_endpoints(wanted, interfaces, request).await;
        if made.is_err() {
            self.release_unused().await;
        }
        made
    }

    async fn make_endpoints(
        &mut self,
        wanted: &Wanted,
        interfaces: &[String],
        request: impl FnOnce(&State, &mut Env<'_>) -> Result<Change, RequestError>,
    ) -> Result<Change, CommandError> {
        let first = wanted.networks.first();
        for network in &wanted.networks {
            let ips = wanted.ips.iter().filter(|_| first == Some(network));
            let ips: Vec<IpAddr> = ips.copied().collect();
            self.use_overlay(network, &ips).await?;
        }
        let change = self.evaluate(&Prefixes::default(), interfaces, request)?;
        self.claim_macs(&change)?;
        self.apply(&change).await?;
        Ok(change)
    }

    /// Uses an overlay network on this node, and claims what an endpoint in it needs. Other networks are ignored.
    async fn use_overlay(&mut self, network: &Name, ips: &[IpAddr]) -> Result<(), CommandError> {
        let exists = self.state().network(network);
        let is_overlay = exists.as_ref().map(|network| network.overlay.is_some());
        match is_overlay {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(_) => {
                let prefixes = self.foreign_prefixes().await?;
                let change =
                    self.evaluate(&prefixes, &[], |state, env| state.use_overlay(network, env))?;
                let Some(change) = change else {
                    return Ok(());
                };
                self.check_membership()?;
                self.apply(&change).await?;
            }
        }
        let name = self.name.clone();
        tokio::task::block_in_place(|| {
            for ip in self.state().foreign_addresses(network, ips) {
                self.check_membership()?;
                self.stored.keep_address(&name, network, ip, None)?;
            }
            if self.state().lacks_addresses(network) {
                self.check_membership()?;
                self.stored.claim_block(&name, network)?;
            }
            Ok(())
        })
    }

    /// Claims the addresses of new endpoints whose MAC addresses do not follow from them, so that other nodes know these.
    fn claim_macs(&mut self, change: &Change) -> Result<(), CommandError> {
        let sandboxes = change.sandboxes();
        let before: BTreeSet<_> = sandboxes
            .0
            .into_iter()
            .flat_map(|sandbox| sandbox.endpoints.iter().map(|endpoint| endpoint.id))
            .collect();
        let after = sandboxes.1.into_iter();
        let after = after.flat_map(|sandbox| &sandbox.endpoints);
        let new = after.chain(change.unbound_endpoints().1);
        let new = new.filter(|endpoint| !before.contains(&endpoint.id));
        let mut claimed: Vec<(Name, IpAddr, MacAddr)> = Vec::new();
        for endpoint in new {
            let network = self.state().network(&endpoint.network)?;
            let derived = derived_mac(&endpoint.addresses);
            if network.overlay.is_some() && derived != Some(endpoint.mac) {
                let ips = endpoint.addresses.iter().map(IpNet::addr);
                claimed.extend(ips.map(|ip| (endpoint.network.clone(), ip, endpoint.mac)));
            }
        }
        let name = self.name.clone();
        for (network, ip, mac) in claimed {
            tokio::task::block_in_place(|| {
                self.stored.keep_address(&name, &network, ip, Some(mac))
            })?;
        }
        Ok(())
    }
}

impl<K: Kernel, D: reconcile::Datapath> Node<K, D> {
    /// Ends the use of overlay networks without an endpoint on this node, and releases the addresses that this node has
    /// claimed for endpoints that no longer exist. What fails is repeated by the next reconcile.
    pub(super) async fn release_unused(&mut self) {
        let mut failure = None;
        for network in self.state().unused_overlays() {
            if let Err(error) = self.leave_overlay(&network).await {
                failure = Some(error);
            }
        }
        let name = self.name.clone();
        for (network, ips) in self.state().unused_addresses() {
            let forgotten =
                tokio::task::block_in_place(|| self.stored.forget_addresses(&name, &network, &ips));
            if let Err(error) = forgotten {
                failure = Some(error);
            }
        }
        match failure {
            None => drop(self.failures.note_success(RELEASE)),
            Some(error) => {
                // A claim that this node has no record of is released by the next comparison with the store.
                self.unsynced = true;
                if self.failures.note_failure(RELEASE) {
                    tracing::warn!(%error, "cannot release addresses of an overlay network yet");
                }
            }
        }
    }

    async fn leave_overlay(&mut self, network: &Name) -> Result<(), CommandError> {
        if let Some(change) = self.state().leave_overlay(network) {
            self.apply(&change).await?;
        }
        let name = self.name.clone();
        tokio::task::block_in_place(|| self.stored.release_claims(&name, network))
    }
}
