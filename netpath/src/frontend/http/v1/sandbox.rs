//! Sandboxes.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Owner, Port};

/// A sandbox as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Unique name.
    pub name: String,
    /// Twelve hexadecimal digits.
    pub id: String,
    /// Path of its network namespace.
    pub netns: PathBuf,
    /// `network`, `host`, `none` or `container:NAME`.
    pub network_mode: String,
    /// Host name.
    pub hostname: String,
    /// Program that manages it, its endpoints and its ports.
    #[serde(default)]
    pub owner: Owner,
    /// The first one carries the default routes and the published ports.
    pub endpoints: Vec<Endpoint>,
    /// Published ports.
    pub ports: Vec<Port>,
}

/// A veth pair that connects a sandbox to a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Twelve hexadecimal digits.
    pub id: String,
    /// Name of the network.
    pub network: String,
    /// Name of its sandbox; `null` if it has none.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// Program that manages it.
    #[serde(default)]
    pub owner: Owner,
    /// Name of the container interface.
    pub interface: String,
    /// Name of the host interface.
    pub host_interface: String,
    /// Whether another program has created its veth pair.
    #[serde(default)]
    pub adopted: bool,
    /// MAC address of the container interface.
    pub mac: String,
    /// At most one for each family, with the prefix length of the subnet.
    pub addresses: Vec<IpNet>,
    /// At most one for each family.
    pub gateways: Vec<IpAddr>,
    /// Largest packet in bytes.
    pub mtu: u32,
}

/// Asks for a sandbox: `POST /v1/sandboxes`. Every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxCreate {
    /// Unique name; the daemon makes one up if there is none.
    pub name: Option<String>,
    /// Names of networks, or only one of `host`, `none` and `container:NAME`; `bridge` if empty.
    pub networks: Vec<String>,
    /// Ports: `[HOST_IP:][HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]`.
    pub publish: Vec<String>,
    /// Sources that may use the ports; empty for everybody.
    pub allow: Vec<IpNet>,
    /// Address in the first network; a free one by default.
    pub ip: Option<IpAddr>,
    /// MAC address in the first network.
    pub mac: Option<String>,
    /// Host name; the sandbox's name by default.
    pub hostname: Option<String>,
    /// Adopts the namespace at this path.
    pub netns: Option<PathBuf>,
    /// Adopts the namespace of this process.
    pub pid: Option<i32>,
    /// Number of a process; the sandbox is removed when that process ends.
    pub owner_pid: Option<i32>,
    /// With no network, not even the default one: endpoints are joined later.
    pub unconnected: bool,
}

/// Creates an endpoint without a sandbox: `POST /v1/endpoints`. Only `network` is required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointCreate {
    /// Name of the network.
    pub network: String,
    /// Addresses, at most one per family; free ones by default.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    /// MAC address of the container interface. Required with `host_interface`.
    #[serde(default)]
    pub mac: Option<String>,
    /// Name of the container interface; the lowest free `ethN` by default.
    #[serde(default)]
    pub interface: Option<String>,
    /// Host interface of an existing veth pair of another program, a port of the adopted bridge of the network.
    #[serde(default)]
    pub host_interface: Option<String>,
}

/// Joins an endpoint to a sandbox: `POST /v1/endpoints/ID/join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Name of the sandbox.
    pub sandbox: String,
}
