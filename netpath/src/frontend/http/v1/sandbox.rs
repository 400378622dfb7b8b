//! Sandboxes.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Port;

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
    /// The first one carries the default routes and the published ports.
    pub endpoints: Vec<Endpoint>,
    /// Published ports.
    pub ports: Vec<Port>,
}

/// What joins a sandbox to a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Twelve hexadecimal digits.
    pub id: String,
    /// Name of the network.
    pub network: String,
    /// Interface name inside.
    pub interface: String,
    /// Interface name on the host.
    pub host_interface: String,
    /// MAC address inside.
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
    /// The sandbox goes when this process ends.
    pub owner_pid: Option<i32>,
}
