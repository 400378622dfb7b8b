//! Other nodes, and the addresses of overlay networks that belong to them.

use std::collections::BTreeMap;

use super::State;
use crate::model::{Name, Peer, RemotePrefix};

/// The other nodes of the cluster, and their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::model) struct Remote {
    peers: BTreeMap<Name, Peer>,
    /// By network; sorted.
    prefixes: BTreeMap<Name, Vec<RemotePrefix>>,
}

impl State {
    /// The same state with these other nodes, and these addresses of other nodes.
    #[must_use]
    pub fn with_remote(mut self, peers: Vec<Peer>, mut remotes: Vec<RemotePrefix>) -> Self {
        remotes.sort_unstable();
        let mut prefixes: BTreeMap<Name, Vec<RemotePrefix>> = BTreeMap::new();
        for remote in remotes {
            let network = prefixes.entry(remote.network.clone()).or_default();
            network.push(remote);
        }
        let peers = peers.into_iter().map(|peer| (peer.name.clone(), peer));
        self.remote = Remote {
            peers: peers.collect(),
            prefixes,
        };
        self
    }

    /// The other nodes of the cluster, by name.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.remote.peers.values()
    }

    /// The other node with this name; `None` if there is none.
    pub fn peer(&self, name: &Name) -> Option<&Peer> {
        self.remote.peers.get(name)
    }

    /// Addresses of overlay networks that belong to other nodes, by network and prefix.
    pub fn remotes(&self) -> impl Iterator<Item = &RemotePrefix> {
        self.remote.prefixes.values().flatten()
    }

    /// Addresses of one network that belong to other nodes, by prefix.
    pub fn remotes_of(&self, network: &Name) -> impl Iterator<Item = &RemotePrefix> {
        self.remote.prefixes.get(network).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_other_nodes_are_listed_by_network() {
        let remote = |network: &str, prefix: &str, peer: &str| RemotePrefix {
            network: network.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
            peer: peer.parse().unwrap(),
        };
        let first = remote("back", "10.8.1.0/24", "b");
        let second = remote("web", "10.9.1.0/24", "b");
        let third = remote("web", "10.9.2.0/24", "c");
        let peer = |name: &str| Peer {
            name: name.parse().unwrap(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
        };
        let state = State::default().with_remote(
            vec![peer("c"), peer("b")],
            vec![third.clone(), first.clone(), second.clone()],
        );
        let web = "web".parse().unwrap();
        assert!(state.remotes().eq([&first, &second, &third]));
        assert!(state.remotes_of(&web).eq([&second, &third]));
        assert!(state.peers().map(|peer| peer.name.as_str()).eq(["b", "c"]));
        assert_eq!(state.peer(&web), None);
    }
}
