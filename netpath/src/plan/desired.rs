//! What should be in the kernel and in the maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use serde::{Deserialize, Serialize};

use super::entries::{
    AddressEntry, AllowEntry, EndpointEntry, NetworkEntry, PortEntry, PortKey, SubnetEntry,
};

/// What the planner must know of the node, found by looking and given as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Ways out that exist now.
    pub uplinks: BTreeMap<String, Uplink>,
    /// Every address of the node's namespace, those of bridges included, loopback addresses excluded.
    pub host_addresses: BTreeSet<IpAddr>,
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Its MTU.
    pub mtu: u32,
    /// Source for IPv4 when a route names none.
    pub v4: Option<IpAddr>,
    /// Source for IPv6 when a route names none.
    pub v6: Option<IpAddr>,
}

/// A bridge device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// MAC address.
    #[serde(with = "crate::model::mac_text")]
    pub mac: MacAddr,
    /// MTU.
    pub mtu: u32,
    /// Gateway addresses with prefix lengths.
    pub addresses: BTreeSet<IpNet>,
}

/// A namespace that netpath makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Namespace {
    /// Where it is mounted.
    pub path: PathBuf,
}

/// A veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// Bridge of the host's end.
    pub bridge: String,
    /// MTU of both ends.
    pub mtu: u32,
    /// Path of the namespace of the other end.
    pub netns: PathBuf,
    /// The other end.
    pub inside: Inside,
}

/// The end of a veth pair inside a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Interface name.
    pub name: String,
    /// MAC address.
    #[serde(with = "crate::model::mac_text")]
    pub mac: MacAddr,
    /// Addresses with prefix lengths.
    pub addresses: BTreeSet<IpNet>,
    /// Default routes: for each family, over the first endpoint in a network with a way out.
    pub gateways: BTreeSet<IpAddr>,
}

/// What should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desired {
    /// By interface name.
    pub uplinks: BTreeMap<String, Uplink>,
    /// By interface name.
    pub bridges: BTreeMap<String, Bridge>,
    /// Made by netpath.
    pub namespaces: BTreeSet<Namespace>,
    /// By interface name of the host's end.
    pub veths: BTreeMap<String, Veth>,
    /// By index.
    pub networks: BTreeMap<u32, NetworkEntry>,
    /// By slot.
    pub endpoints: BTreeMap<u32, EndpointEntry>,
    /// By address.
    pub addresses: BTreeMap<IpAddr, AddressEntry>,
    /// By prefix.
    pub subnets: BTreeMap<IpNet, SubnetEntry>,
    /// Published ranges.
    #[serde(with = "super::pairs")]
    pub ports: BTreeMap<PortKey, PortEntry>,
    /// Sources of published ranges.
    pub allow: BTreeSet<AllowEntry>,
}

impl Desired {
    /// Takes out of both the published ranges that are the same in both: a change does not touch them, and a sandbox
    /// may have thousands.
    pub fn drop_common_ports(&mut self, other: &mut Self) {
        let same: BTreeSet<PortKey> = self
            .ports
            .iter()
            .filter(|(key, entry)| other.ports.get(key) == Some(*entry))
            .map(|(key, _)| *key)
            .collect();
        self.ports.retain(|key, _| !same.contains(key));
        other.ports.retain(|key, _| !same.contains(key));
    }
}
