//! Networks.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Owner;
use crate::model;

/// A network as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Unique name.
    pub name: String,
    /// Twelve hexadecimal digits.
    pub id: String,
    /// How it carries packets.
    pub driver: Driver,
    /// Where it exists.
    pub scope: Scope,
    /// At most one for each family.
    pub subnets: Vec<IpNet>,
    /// One for each subnet, in the same order.
    pub gateways: Vec<IpAddr>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// VXLAN network identifier; `null` unless the driver is `overlay`.
    pub vni: Option<u32>,
    /// No way out, no published ports.
    pub internal: bool,
    /// Sandboxes may talk to each other.
    pub icc: bool,
    /// Outbound flows get the node's address.
    pub masquerade: bool,
    /// How its sandboxes meet the outside.
    pub gateway_mode: GatewayMode,
    /// Program that manages it.
    #[serde(default)]
    pub owner: Owner,
    /// Interface name of its bridge if another program has created it; `null` otherwise.
    #[serde(default)]
    pub adopted: Option<String>,
    /// Names of the sandboxes in it.
    pub sandboxes: Vec<String>,
    /// The user's own.
    pub labels: BTreeMap<String, String>,
}

/// How a network carries packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// One host.
    #[default]
    Bridge,
    /// Many hosts.
    Overlay,
    /// The host's own namespace.
    #[value(skip)]
    Host,
    /// Only a loopback device.
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

/// How a network's sandboxes meet the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// Through published ports and address translation.
    #[default]
    Nat,
    /// With their own addresses; a published port opens that port of the sandbox.
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

/// Asks for a network: `POST /v1/networks`. Only `name` is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Unique name.
    pub name: String,
    /// How it carries packets; `bridge` by default.
    #[serde(default)]
    pub driver: Driver,
    /// At most one for each family; empty for a free one from the pools.
    #[serde(default)]
    pub subnets: Vec<IpNet>,
    /// At most one for each family; the subnet's first address by default.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// The part of a subnet that addresses are handed out from.
    #[serde(default)]
    pub ip_range: Option<IpNet>,
    /// Wants an IPv6 subnet from the pools if `subnets` has none.
    #[serde(default)]
    pub ipv6: bool,
    /// No way out, no published ports.
    #[serde(default)]
    pub internal: bool,
    /// Sandboxes may talk to each other; by default they may.
    #[serde(default = "yes")]
    pub icc: bool,
    /// Outbound flows get the node's address; by default they do.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// How its sandboxes meet the outside; `nat` by default.
    #[serde(default)]
    pub gateway_mode: GatewayMode,
    /// Largest packet in bytes; the uplink's by default.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// VXLAN network identifier; a free one by default.
    #[serde(default)]
    pub vni: Option<u32>,
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
            adopt: None,
            labels: BTreeMap::new(),
        }
    }
}

/// Joins a sandbox to a network: `POST /v1/networks/NAME/connect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Its address; a free one by default.
    #[serde(default)]
    pub ip: Option<IpAddr>,
}

/// Takes a sandbox out of a network: `POST /v1/networks/NAME/disconnect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// Name of the sandbox.
    pub sandbox: String,
}

fn yes() -> bool {
    true
}
