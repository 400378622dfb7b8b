//! What this node knows of its cluster: the other nodes, the overlay networks, and the addresses that nodes have claimed.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{NetworkState, State, Unknown, unknown};
use crate::{
    ipam::overlap,
    model::{Layout, Name, Network, OwnClaims, Peer, RemotePrefix, claims::Claims},
};

/// The cluster of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    peers: BTreeMap<Name, Peer>,
    networks: BTreeMap<Name, ClusterNetwork>,
    /// By network; sorted by prefix.
    remotes: BTreeMap<Name, Vec<RemotePrefix>>,
}

/// An overlay network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNetwork {
    /// The network. Its index is 0: a node that uses it assigns another one.
    pub network: Network,
    /// Addresses that nodes have claimed.
    pub claims: Claims,
}

impl Cluster {
    /// The cluster as the node with the name `node` sees it.
    pub fn new(node: &Name, networks: Vec<ClusterNetwork>, peers: Vec<Peer>) -> Self {
        let remotes = networks.iter().map(|entry| {
            let layout = Layout::of(&entry.network.subnets);
            let name = &entry.network.name;
            let mut remotes: Vec<_> = entry.claims.remotes(&layout, name, node).collect();
            remotes.sort_unstable();
            (name.clone(), remotes)
        });
        Self {
            remotes: remotes.collect(),
            peers: peers
                .into_iter()
                .map(|peer| (peer.name.clone(), peer))
                .collect(),
            networks: networks
                .into_iter()
                .map(|entry| (entry.network.name.clone(), entry))
                .collect(),
        }
    }

    /// The overlay networks, by name.
    pub fn networks(&self) -> impl Iterator<Item = &ClusterNetwork> {
        self.networks.values()
    }

    /// One overlay network; `None` if it does not exist.
    pub fn network(&self, name: &Name) -> Option<&ClusterNetwork> {
        self.networks.get(name)
    }

    /// The overlay network with a subnet that overlaps `prefix`, and that subnet.
    pub fn overlapping(&self, prefix: &IpNet) -> Option<(IpNet, &Name)> {
        self.networks.values().find_map(|entry| {
            let subnets = entry.network.subnets.iter();
            let mut prefixes = subnets.map(|subnet| subnet.prefix);
            let found = prefixes.find(|other| overlap(other, prefix))?;
            Some((found, &entry.network.name))
        })
    }
}

impl State {
    /// The cluster of this node.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The networks that this node uses, and the other networks of the cluster, by name.
    pub fn all_networks(&self) -> impl Iterator<Item = &Network> {
        let others = self.cluster.networks.values().map(|entry| &entry.network);
        let others = others.filter(|network| !self.networks.contains_key(&network.name));
        let mut all: Vec<&Network> = self.networks().chain(others).collect();
        all.sort_unstable_by_key(|network| &network.name);
        all.into_iter()
    }

    /// The network with this name, which this node need not use.
    ///
    /// # Errors
    /// [`Unknown`] if it does not exist; it suggests the most similar name.
    pub fn known_network(&self, name: &Name) -> Result<&Network, Unknown> {
        let mut all = self.all_networks();
        let names = self.networks.keys().chain(self.cluster.networks.keys());
        let found = all.find(|network| network.name == *name);
        found.ok_or_else(|| unknown("network", name.as_str(), names))
    }

    /// Replaces what this node knows of its cluster.
    pub fn set_cluster(&mut self, cluster: Cluster) {
        self.cluster = cluster;
    }

    /// The other nodes of the cluster, by name.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.cluster.peers.values()
    }

    /// The other node with this name; `None` if there is none.
    pub fn peer(&self, name: &Name) -> Option<&Peer> {
        self.cluster.peers.get(name)
    }

    /// Addresses of overlay networks that belong to other nodes, by network and prefix.
    pub fn remotes(&self) -> impl Iterator<Item = &RemotePrefix> {
        self.cluster.remotes.values().flatten()
    }

    /// Addresses of one network that belong to other nodes, by prefix.
    pub fn remotes_of(&self, network: &Name) -> impl Iterator<Item = &RemotePrefix> {
        self.cluster.remotes.get(network).into_iter().flatten()
    }

    /// Claims of this node, by network.
    pub fn own_claims(&self) -> &BTreeMap<Name, OwnClaims> {
        &self.own
    }

    /// Replaces the claims of this node in one network; `None` if it has none.
    pub fn set_own_claims(&mut self, network: &Name, claims: Option<OwnClaims>) {
        match claims {
            Some(claims) => drop(self.own.insert(network.clone(), claims)),
            None => drop(self.own.remove(network)),
        }
        let own = self.own.get(network);
        if let Some(entry) = self.networks.get_mut(network) {
            entry.restrict(own);
        }
    }

    /// The same state with these claims of this node.
    #[must_use]
    pub fn with_own_claims(mut self, claims: BTreeMap<Name, OwnClaims>) -> Self {
        for (network, claims) in claims {
            self.set_own_claims(&network, Some(claims));
        }
        self
    }

    /// Whether this node needs a further block to create an endpoint in an overlay network that it uses.
    pub fn lacks_addresses(&self, network: &Name) -> bool {
        let entry = self.networks.get(network);
        entry.is_some_and(|entry| {
            let mut subnets = entry.addresses.iter();
            entry.network.overlay.is_some() && subnets.any(|subnet| subnet.next().is_none())
        })
    }

    /// Overlay networks that this node uses and that have no endpoint on it.
    pub fn unused_overlays(&self) -> Vec<Name> {
        let entries = self.networks.values();
        let unused = entries.filter(|entry| entry.network.overlay.is_some() && !entry.is_used());
        unused.map(|entry| entry.network.name.clone()).collect()
    }

    /// Those of the addresses that an endpoint can have in an overlay network but that this node has not claimed.
    pub fn foreign_addresses(&self, network: &Name, ips: &[IpAddr]) -> Vec<IpAddr> {
        let Some(entry) = self.networks.get(network) else {
            return Vec::new();
        };
        let foreign = ips.iter().filter(|ip| {
            let is_free = matches!(entry.check_address(**ip), Some(Ok(())));
            is_free && !entry.is_own(**ip)
        });
        foreign.copied().collect()
    }

    /// Single addresses that this node has claimed and that no endpoint has, by network.
    pub fn unused_addresses(&self) -> Vec<(Name, Vec<IpAddr>)> {
        let own = self.own.iter().map(|(network, own)| {
            let entry = self.networks.get(network);
            let used = |ip: &IpAddr| entry.is_some_and(|entry| entry.holders.contains_key(ip));
            let unused = own.kept.keys().filter(|ip| !used(ip));
            (network.clone(), unused.copied().collect::<Vec<_>>())
        });
        own.filter(|(_, ips)| !ips.is_empty()).collect()
    }

    /// Addresses of endpoints in an overlay network that this node has not claimed.
    pub fn unclaimed_addresses(&self, network: &Name) -> Vec<IpAddr> {
        let Some(entry) = self.networks.get(network) else {
            return Vec::new();
        };
        let holders = entry.holders.keys().copied();
        let layout = Layout::of(&entry.network.subnets);
        let own = self.own.get(network);
        let disputed = |ip| own.is_some_and(|own| own.is_disputed(&layout, ip));
        holders
            .filter(|ip| !entry.is_own(*ip) && !disputed(*ip))
            .collect()
    }
}

impl NetworkState {
    /// Limits the addresses of an overlay network to the claims of this node. Those of another network are not limited.
    pub fn restrict(&mut self, own: Option<&OwnClaims>) {
        if self.network.overlay.is_none() {
            return;
        }
        let layout = Layout::of(&self.network.subnets);
        let prefixes = own.map(|own| own.prefixes(&layout)).unwrap_or_default();
        let except = own.map(|own| own.except.clone()).unwrap_or_default();
        for addresses in &mut self.addresses {
            addresses.restrict(&prefixes, &except);
        }
    }
}
