//! The state: every object of a node, with indices.
//!
//! A request takes O(log n) in the number of objects, and time proportional to the size of its sandbox. The functions
//! of [`crate::model::request`] compute the changes of requests.

mod check;
mod cluster;
mod denied;
mod endpoints;
mod entry;
mod lookup;
mod ports;
mod sandboxes;

use std::collections::{BTreeMap, BTreeSet};

use netpath_common::maps::MAX_ENDPOINTS;

use super::{Change, DenyList, Endpoint, Id, Name, NetnsId, Network, OwnClaims, Sandbox};
use crate::ipam::{Prefixes, Ranges};

pub use check::StateError;
pub use cluster::{Cluster, ClusterNetwork};
pub(in crate::model) use entry::NetworkState;
pub use lookup::{Unknown, unknown};
pub(in crate::model) use ports::PortIndex;

/// Every object of a node.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(in crate::model) networks: BTreeMap<Name, NetworkState>,
    pub(in crate::model) sandboxes: BTreeMap<Name, Sandbox>,
    /// [`Id::device`] of every network, sandbox and endpoint, so that device names are unique.
    pub(in crate::model) ids: BTreeSet<u64>,
    pub(in crate::model) prefixes: Prefixes<Name>,
    pub(in crate::model) network_numbers: Ranges,
    pub(in crate::model) slots: Ranges,
    pub(in crate::model) allow_lists: Ranges,
    /// Number of entries of all allow-lists.
    pub(in crate::model) allowed_sources: usize,
    pub(in crate::model) ports: PortIndex,
    /// Endpoints without a sandbox.
    pub(in crate::model) unbound: BTreeMap<Id, Endpoint>,
    /// Other nodes, and the overlay networks.
    pub(in crate::model) cluster: Cluster,
    /// Addresses of overlay networks that this node has claimed, by network.
    pub(in crate::model) own: BTreeMap<Name, OwnClaims>,
    /// Sandboxes by the sandbox whose namespace they use.
    pub(in crate::model) sharers: BTreeMap<Name, BTreeSet<Name>>,
    /// Sandboxes with adopted namespaces, by namespace.
    pub(in crate::model) adopted: BTreeMap<NetnsId, Name>,
    pub(in crate::model) denied: DenyList,
    pub(in crate::model) generation: u32,
}

impl State {
    /// Builds the state from the objects of a store.
    ///
    /// `generation` is the highest slot generation that was ever used.
    ///
    /// # Errors
    /// [`StateError`] names the first object that contradicts the others.
    pub fn load(
        networks: Vec<Network>,
        sandboxes: Vec<Sandbox>,
        generation: u32,
    ) -> Result<Self, StateError> {
        let mut state = Self {
            generation,
            ..Self::default()
        };
        for network in networks {
            state.check_network(&network)?;
            state.add_network(network);
        }
        for sandbox in sandboxes::owners_first(sandboxes) {
            state.check_sandbox(&sandbox)?;
            state.add_sandbox(sandbox);
        }
        Ok(state)
    }

    /// Applies the change of a request, or its reverse.
    ///
    /// # Errors
    /// [`StateError`] if the change does not start from this state; the state is unchanged then.
    pub fn apply(&mut self, change: &Change) -> Result<(), StateError> {
        match change {
            Change::Network { before, after } => {
                self.replace_network(before.as_deref(), after.as_deref())
            }
            Change::Sandbox { before, after } => {
                self.replace_sandbox(before.as_deref(), after.as_deref())
            }
            Change::Endpoint { before, after } => {
                self.replace_unbound(before.as_deref(), after.as_deref())
            }
            Change::Membership {
                endpoint,
                joins,
                before,
                after,
            } => self.apply_membership(endpoint, *joins, before, after),
            Change::Denials { before, after } => self.replace_denials(before, after),
        }
    }

    /// The networks, by name.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values().map(|entry| &entry.network)
    }

    /// The sandboxes, by name.
    pub fn sandboxes(&self) -> impl Iterator<Item = &Sandbox> {
        self.sandboxes.values()
    }

    /// Names of the sandboxes with an endpoint in `network`.
    pub fn members(&self, network: &Name) -> impl Iterator<Item = &Name> {
        self.networks
            .get(network)
            .into_iter()
            .flat_map(|entry| entry.members.iter())
    }

    /// Names of the sandboxes that use the namespace of `sandbox`.
    pub fn sharers(&self, sandbox: &Name) -> impl Iterator<Item = &Name> {
        self.sharers.get(sandbox).into_iter().flatten()
    }

    /// The highest slot generation that was ever used.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// [`Self::generation`] after `change`; stored together with it.
    pub fn generation_after(&self, change: &Change) -> u32 {
        let sandbox = change.sandboxes().1;
        let endpoints = sandbox.into_iter().flat_map(|sandbox| &sandbox.endpoints);
        let endpoints = endpoints.chain(change.unbound_endpoints().1);
        let generations = endpoints.map(|endpoint| endpoint.generation);
        generations.fold(self.generation, u32::max)
    }

    /// Whether the device names that are derived from `id` are free.
    pub(in crate::model) fn is_new(&self, id: Id) -> bool {
        !self.ids.contains(&id.device())
    }

    /// The lowest free endpoint slot that is not in `taken`.
    pub(in crate::model) fn free_slot(&self, taken: &Ranges) -> Option<u32> {
        let last = u128::from(MAX_ENDPOINTS - 1);
        u32::try_from(self.slots.first_free_excluding(taken, 1, last)?).ok()
    }

    /// Number of generations that were never used.
    pub(in crate::model) fn generations_left(&self) -> u32 {
        u32::MAX - self.generation
    }
}
