//! Networks.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Id, Name};

/// How a network carries packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// One host.
    #[default]
    Bridge,
    /// Many hosts.
    Overlay,
    /// The host's own namespace.
    Host,
    /// Only a loopback device.
    None,
}

/// How a network's sandboxes meet the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// Through published ports and address translation.
    #[default]
    Nat,
    /// With their own addresses; a published port opens that port of the sandbox.
    Routed,
}

/// The addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The prefix, host bits zero.
    pub prefix: IpNet,
    /// The bridge's address.
    pub gateway: IpAddr,
    /// The part that addresses are handed out from; the whole prefix if `None`.
    pub range: Option<IpNet>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Random.
    pub id: Id,
    /// Unique.
    pub name: Name,
    /// How it carries packets.
    pub driver: Driver,
    /// At most one for each family; none for `host` and `none`.
    pub subnets: Vec<Subnet>,
    /// As asked for; the uplink's if `None`.
    pub mtu: Option<u32>,
    /// No way out, no published ports.
    pub internal: bool,
    /// Sandboxes may talk to each other.
    pub icc: bool,
    /// Outbound flows get the node's address.
    pub masquerade: bool,
    /// How its sandboxes meet the outside.
    pub gateway_mode: GatewayMode,
    /// The user's own.
    pub labels: BTreeMap<String, String>,
    /// Dense number for the map schema, from 1; 0 for `host` and `none`.
    pub index: u32,
}

impl Network {
    /// Name of its bridge device.
    pub fn bridge(&self) -> String {
        self.id.interface("npb-")
    }

    /// MAC address of its bridge device.
    pub fn mac(&self) -> netpath_common::addr::MacAddr {
        self.id.mac()
    }

    /// The subnet of the family of `like`.
    pub fn subnet(&self, like: IpAddr) -> Option<&Subnet> {
        self.subnets
            .iter()
            .find(|subnet| subnet.gateway.is_ipv4() == like.is_ipv4())
    }

    /// Whether it has endpoints at all.
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
