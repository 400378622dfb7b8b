//! Networks.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Id, Name, Overlay, Owner};

/// Driver of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge on one node.
    #[default]
    Bridge,
    /// Tunnels between nodes.
    Overlay,
    /// The namespace of the node.
    Host,
    /// A loopback device only.
    None,
}

/// Where a network exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// On one node.
    Local,
    /// On every node of a cluster.
    Global,
}

impl Driver {
    /// Where networks of this driver exist.
    pub fn scope(self) -> Scope {
        match self {
            Self::Overlay => Scope::Global,
            Self::Bridge | Self::Host | Self::None => Scope::Local,
        }
    }
}

/// How sandboxes of a network are reached from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// At published ports of the node, with address translation.
    #[default]
    Nat,
    /// At their own addresses, without translation. Only published ports are reachable.
    Routed,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The prefix, host bits zero.
    pub prefix: IpNet,
    /// Address of the bridge, in `prefix`.
    pub gateway: IpAddr,
    /// Part of the prefix that addresses are allocated from; the whole prefix if `None`.
    pub range: Option<IpNet>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Random, unique.
    pub id: Id,
    /// Name, unique.
    pub name: Name,
    /// Driver. It determines whether the network has endpoints, and its scope.
    pub driver: Driver,
    /// At most one for each family; none for `host` and `none`.
    pub subnets: Vec<Subnet>,
    /// MTU in bytes; if `None`, that of the adopted bridge, or the smallest of the interfaces with a default route.
    pub mtu: Option<u32>,
    /// Whether the network has no external access and no published ports.
    pub internal: bool,
    /// Whether sandboxes may exchange packets with each other.
    pub icc: bool,
    /// Whether the source of outbound flows is translated to an address of the node.
    pub masquerade: bool,
    /// How its sandboxes are reached from outside.
    pub gateway_mode: GatewayMode,
    /// Properties of an overlay network; `None` for every other driver.
    pub overlay: Option<Overlay>,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// Program that manages it.
    pub owner: Owner,
    /// Interface name of its bridge if another program has created the bridge. netpath never changes or removes it.
    pub adopted: Option<String>,
    /// Index in the map `networks`, from 1; 0 for `host` and `none`.
    pub index: u32,
}

impl Network {
    /// Interface name of its bridge.
    pub fn bridge(&self) -> String {
        let own = || self.id.interface("npb-");
        self.adopted.clone().unwrap_or_else(own)
    }

    /// MAC address of a bridge that netpath creates.
    pub fn mac(&self) -> netpath_common::addr::MacAddr {
        self.id.mac()
    }

    /// The subnet of the same family as `like`.
    pub fn subnet(&self, like: IpAddr) -> Option<&Subnet> {
        self.subnets
            .iter()
            .find(|subnet| subnet.gateway.is_ipv4() == like.is_ipv4())
    }

    /// Whether its driver has endpoints.
    pub fn has_endpoints(&self) -> bool {
        matches!(self.driver, Driver::Bridge | Driver::Overlay)
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Overlay => "overlay",
            Self::Host => "host",
            Self::None => "none",
        })
    }
}
