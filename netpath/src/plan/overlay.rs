//! The planned tables of overlay networks: other nodes, what is on them, and the tunnel of this node.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use serde::{Deserialize, Serialize};

use super::tables::{Entry, Order};

/// The entry of `tunnel`: how this node takes part in tunnels between nodes. Without it, the node has no overlay network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelEntry {
    /// UDP port of every node, not 0.
    pub port: u16,
    /// The address of this node in IPv4 tunnels.
    pub v4: Option<Ipv4Addr>,
    /// The address of this node in IPv6 tunnels.
    pub v6: Option<Ipv6Addr>,
}

impl Entry for TunnelEntry {
    type Key = ();
    const NOUN: &'static str = "tunnel";
    // After the addresses of peers and sandboxes.
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = false;

    fn key_text((): &()) -> String {
        "of this node".to_owned()
    }

    fn text((): &(), entry: &Self) -> String {
        let addresses = [entry.v4.map(IpAddr::from), entry.v6.map(IpAddr::from)];
        let addresses: Vec<_> = addresses
            .into_iter()
            .flatten()
            .map(|ip| ip.to_string())
            .collect();
        format!("at port {} of {}", entry.port, addresses.join(", "))
    }
}

/// An entry of `peers`, by underlay address: another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEntry {
    /// The address that identifies the node in `remotes`: one of its underlay addresses, to which packets are sent.
    pub address: IpAddr,
}

impl Entry for PeerEntry {
    type Key = IpAddr;
    const NOUN: &'static str = "peer";
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = true;

    fn key_text(ip: &IpAddr) -> String {
        ip.to_string()
    }
}

/// Key of `remotes`: a part of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RemoteKey {
    /// Index of the network.
    pub network: u32,
    /// A block of addresses, or one address.
    pub prefix: IpNet,
}

impl fmt::Display for RemoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of network {}", self.prefix, self.network)
    }
}

/// An entry of `remotes`: which node has a part of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteEntry {
    /// [`PeerEntry::address`] of that node.
    pub peer: IpAddr,
    /// Identifier of the network in tunnel packets.
    pub vni: u32,
    /// MAC address of the sandbox with the address, if it does not follow from the address.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::model::optional_mac_text"
    )]
    pub mac: Option<MacAddr>,
}

impl Entry for RemoteEntry {
    type Key = RemoteKey;
    const NOUN: &'static str = "remote prefix";
    // `peers` precedes `remotes` in `for_each_table`, so every address in `remotes` is a peer's.
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = true;

    fn key_text(key: &RemoteKey) -> String {
        key.to_string()
    }

    fn text(key: &RemoteKey, entry: &Self) -> String {
        format!("{key} at {}", entry.peer)
    }
}

/// An entry of `vnis`, by VNI: the network that packets with it belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VniEntry {
    /// Index of the network.
    pub network: u32,
}

impl Entry for VniEntry {
    type Key = u32;
    const NOUN: &'static str = "VNI";
    // Nothing is delivered before the sandboxes of the network are in the maps.
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = false;

    fn key_text(vni: &u32) -> String {
        vni.to_string()
    }

    fn text(vni: &u32, entry: &Self) -> String {
        format!("{vni} of network {}", entry.network)
    }
}
