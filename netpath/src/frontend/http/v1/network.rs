//! Networks.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Owner;
use crate::model;

/// An existing network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Unique name.
    pub name: String,
    /// Twelve hexadecimal digits.
    pub id: String,
    /// Driver.
    pub driver: Driver,
    /// Scope of the network.
    pub scope: Scope,
    /// At most one for each family.
    pub subnets: Vec<IpNet>,
    /// One for each subnet, in the same order.
    pub gateways: Vec<IpAddr>,
    /// MTU in bytes.
    pub mtu: u32,
    /// VXLAN network identifier; `null` unless the driver is `overlay`.
    pub vni: Option<u32>,
    /// Encapsulation between nodes; `null` unless the driver is `overlay`.
    #[serde(default)]
    pub encap: Option<String>,
    /// No external access, no published ports.
    pub internal: bool,
    /// Sandboxes may exchange packets with each other.
    pub icc: bool,
    /// The source of outbound flows is translated to an address of the node.
    pub masquerade: bool,
    /// How its sandboxes are reached from outside.
    pub gateway_mode: GatewayMode,
    /// Front end that may change it.
    #[serde(default)]
    pub owner: Owner,
    /// Interface name of its bridge if another program has created it; `null` otherwise.
    #[serde(default)]
    pub adopted: Option<String>,
    /// Names of the sandboxes in it.
    pub sandboxes: Vec<String>,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// In the response to the creation of the network: what the user should know. Absent if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Driver of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge on one node.
    #[default]
    Bridge,
    /// Tunnels between nodes.
    Overlay,
    /// The namespace of the node.
    #[value(skip)]
    Host,
    /// A loopback device only.
    #[value(skip)]
    None,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bridge => "bridge",
            Self::Overlay => "overlay",
            Self::Host => "host",
            Self::None => "none",
        })
    }
}

impl From<model::Driver> for Driver {
    fn from(driver: model::Driver) -> Self {
        match driver {
            model::Driver::Bridge => Self::Bridge,
            model::Driver::Overlay => Self::Overlay,
            model::Driver::Host => Self::Host,
            model::Driver::None => Self::None,
        }
    }
}

impl From<Driver> for model::Driver {
    fn from(driver: Driver) -> Self {
        match driver {
            Driver::Bridge => Self::Bridge,
            Driver::Overlay => Self::Overlay,
            Driver::Host => Self::Host,
            Driver::None => Self::None,
        }
    }
}

/// Where a network exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// On this node.
    Local,
    /// On every node.
    Global,
}

impl From<model::Scope> for Scope {
    fn from(scope: model::Scope) -> Self {
        match scope {
            model::Scope::Local => Self::Local,
            model::Scope::Global => Self::Global,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Local => "local",
            Self::Global => "global",
        })
    }
}

/// How sandboxes of a network are reached from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// At published ports of the node, with address translation.
    #[default]
    Nat,
    /// At their own addresses, without translation; publishing a port opens it.
    Routed,
}

impl fmt::Display for GatewayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nat => "nat",
            Self::Routed => "routed",
        })
    }
}

impl From<model::GatewayMode> for GatewayMode {
    fn from(mode: model::GatewayMode) -> Self {
        match mode {
            model::GatewayMode::Nat => Self::Nat,
            model::GatewayMode::Routed => Self::Routed,
        }
    }
}

impl From<GatewayMode> for model::GatewayMode {
    fn from(mode: GatewayMode) -> Self {
        match mode {
            GatewayMode::Nat => Self::Nat,
            GatewayMode::Routed => Self::Routed,
        }
    }
}

/// Creates a network: `POST /v1/networks`. Only `name` is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Unique name.
    pub name: String,
    /// Driver; `bridge` by default.
    #[serde(default)]
    pub driver: Driver,
    /// At most one for each family; if empty, a free one from the pools.
    #[serde(default)]
    pub subnets: Vec<IpNet>,
    /// At most one for each family; the subnet's first address by default.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// Part of a subnet that addresses are allocated from.
    #[serde(default)]
    pub ip_range: Option<IpNet>,
    /// Allocates an IPv6 subnet if `subnets` has none.
    #[serde(default)]
    pub ipv6: bool,
    /// No external access, no published ports.
    #[serde(default)]
    pub internal: bool,
    /// Sandboxes may exchange packets with each other; default true.
    #[serde(default = "yes")]
    pub icc: bool,
    /// The source of outbound flows is translated; default true.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// How its sandboxes are reached from outside; `nat` by default.
    #[serde(default)]
    pub gateway_mode: GatewayMode,
    /// MTU in bytes; by default that of the interfaces with a default route, or of the adopted bridge.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// VXLAN network identifier of an overlay network; a free one by default.
    #[serde(default)]
    pub vni: Option<u32>,
    /// Encapsulation between the nodes of an overlay network: `vxlan` or `auto`; `vxlan` by default.
    #[serde(default)]
    pub encap: Option<String>,
    /// Interface name of an existing bridge of another program to use. Subnets and gateways are then those of its
    /// addresses by default.
    #[serde(default)]
    pub adopt: Option<String>,
    /// Labels of the user.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl NetworkCreate {
    /// A network of this name with every default.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            driver: Driver::default(),
            subnets: Vec::new(),
            gateways: Vec::new(),
            ip_range: None,
            ipv6: false,
            internal: false,
            icc: true,
            masquerade: true,
            gateway_mode: GatewayMode::default(),
            mtu: None,
            vni: None,
            encap: None,
            adopt: None,
            labels: BTreeMap::new(),
        }
    }
}

/// Connects a sandbox to a network: `POST /v1/networks/NAME/connect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Its address; a free one by default.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// Limit of each direction in bits per second; none by default.
    #[serde(default)]
    pub rate: Option<u64>,
}

/// Disconnects a sandbox from a network: `POST /v1/networks/NAME/disconnect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// Name of the sandbox.
    pub sandbox: String,
}

fn yes() -> bool {
    true
}
