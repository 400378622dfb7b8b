//! The desired entries of overlay networks, from what a node knows of its cluster.

use std::net::IpAddr;

use netpath_common::maps::VXLAN_PORT;

use super::{
    Desired, Facts,
    overlay::{PeerEntry, RemoteEntry, RemoteKey, TunnelEntry, VniEntry},
};
use crate::model::{Network, Peer, State};

impl Desired {
    /// The entries of the maps that depend on other nodes.
    pub fn of_cluster(state: &State, facts: &Facts) -> Self {
        let mut desired = Self::default();
        desired.add_cluster(state, facts);
        desired
    }

    pub(super) fn add_cluster(&mut self, state: &State, facts: &Facts) {
        let used = || state.networks().filter(|network| network.overlay.is_some());
        if state.cluster().networks().next().is_none() && used().next().is_none() {
            return;
        }
        let underlay = &facts.underlay;
        if underlay.v4.is_some() || underlay.v6.is_some() {
            let entry = TunnelEntry {
                port: VXLAN_PORT,
                v4: underlay.v4,
                v6: underlay.v6,
            };
            self.entries.tunnel.insert((), entry);
        }
        for peer in state.peers() {
            let Some(address) = address_of(peer, facts) else {
                continue;
            };
            let others = peer.addresses.iter();
            let others = others.filter(|ip| !facts.host_addresses.contains(ip));
            self.entries
                .peers
                .extend(others.map(|ip| (*ip, PeerEntry { address })));
        }
        for network in used() {
            self.add_remotes(network, state, facts);
        }
    }

    /// The entries of one overlay network that depend on other nodes.
    pub(super) fn add_remotes(&mut self, network: &Network, state: &State, facts: &Facts) {
        let Some(overlay) = network.overlay else {
            return;
        };
        let (vni, index) = (overlay.vni.number(), network.index);
        self.entries.vnis.insert(vni, VniEntry { network: index });
        for remote in state.remotes_of(&network.name) {
            let peer = state.peer(&remote.peer);
            let Some(peer) = peer.and_then(|peer| address_of(peer, facts)) else {
                continue;
            };
            let key = RemoteKey {
                network: index,
                prefix: remote.prefix,
            };
            let mac = remote.mac;
            self.entries
                .remotes
                .insert(key, RemoteEntry { peer, vni, mac });
        }
    }
}

/// The address to which this node sends packets for a peer: IPv4 if both nodes have it. `None` if they have no family in common.
fn address_of(peer: &Peer, facts: &Facts) -> Option<IpAddr> {
    let own = |ip: &&IpAddr| !facts.host_addresses.contains(*ip);
    let mut usable = peer.addresses.iter().filter(own);
    let v4 = usable.clone().find(|ip| ip.is_ipv4());
    let v6 = usable.find(|ip| ip.is_ipv6());
    let v4 = v4.filter(|_| facts.underlay.v4.is_some());
    v4.or(v6.filter(|_| facts.underlay.v6.is_some())).copied()
}
