//! The desired state of the kernel and of the maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use ipnet::IpNet;
use netpath_common::{addr::MacAddr, hook::LinkHeader};
use serde::{Deserialize, Serialize};

use super::tables::Entries;
use crate::model::{NetnsId, Peer, Rate};

/// What the planner must know of the node. Read from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Interfaces of the node, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// The smallest MTU of the interfaces with a default route, or of those that the setting `uplink` names; `None` if
    /// there are none.
    pub mtu: Option<u32>,
    /// Every address of the node's namespace, those of bridges included, loopback addresses excluded.
    pub host_addresses: BTreeSet<IpAddr>,
    /// Adopted bridges and host interfaces of adopted veth pairs that exist, by interface name.
    pub adopted: BTreeMap<String, AdoptedDevice>,
    /// How the node reaches other nodes.
    #[serde(default, skip_serializing_if = "Underlay::is_default")]
    pub underlay: Underlay,
}

/// How a node reaches other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Underlay {
    /// Address of the node for IPv4.
    pub v4: Option<Ipv4Addr>,
    /// Address of the node for IPv6.
    pub v6: Option<Ipv6Addr>,
    /// MTU of the interface with the configured address, in bytes; if `None`, [`Facts::mtu`] applies.
    pub mtu: Option<u32>,
    /// Whether a node is reached over IPv6.
    pub sends_v6: bool,
}

/// Bytes of the headers around a frame in a VXLAN packet (RFC 7348 §5): Ethernet, IP, UDP and VXLAN, without the outer Ethernet
/// header, which is no part of the MTU.
const OVERHEAD: (u32, u32) = (14 + 20 + 8 + 8, 14 + 40 + 8 + 8);

impl Underlay {
    /// From the addresses of the node, the MTU of their interface, and the other nodes. A node with IPv4 is reached over IPv4.
    pub fn new<'a>(
        addresses: &BTreeSet<IpAddr>,
        mtu: Option<u32>,
        mut peers: impl Iterator<Item = &'a Peer>,
    ) -> Self {
        let v4 = addresses.iter().find_map(|ip| match ip {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        });
        let v6 = addresses.iter().find_map(|ip| match ip {
            IpAddr::V6(ip) => Some(*ip),
            IpAddr::V4(_) => None,
        });
        let has_v4 = |peer: &Peer| peer.addresses.iter().any(IpAddr::is_ipv4);
        let sends_v6 = v6.is_some() && (v4.is_none() || peers.any(|peer| !has_v4(peer)));
        Self {
            v4,
            v6,
            mtu,
            sends_v6,
        }
    }

    /// Bytes that the tunnel adds to a packet.
    pub fn overhead(&self) -> u32 {
        if self.sends_v6 {
            OVERHEAD.1
        } else {
            OVERHEAD.0
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A device that another program has created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedDevice {
    /// MAC address.
    #[serde(with = "crate::model::mac_text")]
    pub mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
}

/// An interface of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// MTU in bytes.
    pub mtu: u32,
    /// What precedes the network header.
    #[serde(default)]
    pub header: LinkHeader,
    /// Whether it serves published ports, and sandboxes send through it.
    #[serde(default = "yes")]
    pub is_uplink: bool,
    /// IPv4 source address of outbound flows if their route has no preferred source.
    pub v4: Option<IpAddr>,
    /// IPv6 source address of outbound flows if their route has no preferred source.
    pub v6: Option<IpAddr>,
}

fn yes() -> bool {
    true
}

/// A bridge device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// MAC address.
    #[serde(with = "crate::model::mac_text")]
    pub mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
    /// Gateway addresses with prefix lengths.
    pub addresses: BTreeSet<IpNet>,
}

/// A namespace that netpath creates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Namespace {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Whether its stack forwards packets from its creation on; later that is the choice of the workload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarding: bool,
}

/// A veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// Interface name of the bridge.
    pub bridge: String,
    /// MTU of both interfaces in bytes.
    pub mtu: u32,
    /// Path of the namespace of the container link.
    pub netns: PathBuf,
    /// The namespace that must be at that path; any one if `None`, which is the case if netpath creates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NetnsId>,
    /// Limit of each direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The container link.
    pub inside: Inside,
}

/// The container link of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Interface name.
    pub name: String,
    /// MAC address.
    #[serde(with = "crate::model::mac_text")]
    pub mac: MacAddr,
    /// Addresses with prefix lengths.
    pub addresses: BTreeSet<IpNet>,
    /// Gateways of default routes. For each family, only the first endpoint in a network with external access has one.
    pub gateways: BTreeSet<IpAddr>,
}

/// The desired state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desired {
    /// By interface name.
    pub bridges: BTreeMap<String, Bridge>,
    /// Namespaces that netpath creates.
    pub namespaces: BTreeSet<Namespace>,
    /// By name of the host interface.
    pub veths: BTreeMap<String, Veth>,
    /// Names of the veth pairs of endpoints that had none before.
    pub first_veths: BTreeSet<String>,
    /// Host interfaces of adopted veth pairs. netpath attaches programs to them and writes their map entries, and
    /// changes nothing else.
    pub adopted: BTreeSet<String>,
    /// Entries of the maps.
    pub entries: Entries,
}

impl Desired {
    /// Removes from both sides the published ranges and the own ports that are equal: the change does not affect them, and a
    /// sandbox may have thousands.
    pub fn drop_common_ports(&mut self, other: &mut Self) {
        drop_common(&mut self.entries.ports, &mut other.entries.ports);
        drop_common(&mut self.entries.own_ports, &mut other.entries.own_ports);
    }
}

fn drop_common<K: Ord + Copy, V: PartialEq>(left: &mut BTreeMap<K, V>, right: &mut BTreeMap<K, V>) {
    let same: BTreeSet<K> = left
        .iter()
        .filter(|(key, entry)| right.get(key) == Some(*entry))
        .map(|(key, _)| *key)
        .collect();
    left.retain(|key, _| !same.contains(key));
    right.retain(|key, _| !same.contains(key));
}
