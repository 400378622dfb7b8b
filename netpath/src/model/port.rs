//! Published ports.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A transport protocol that ports can be published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

/// What a user writes: `[HOST_IP:][HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Transport protocol.
    pub protocol: Protocol,
    /// `None` for every address of the node.
    pub host_ip: Option<IpAddr>,
    /// First and last; `None` for a free one.
    pub host_ports: Option<(u16, u16)>,
    /// First and last.
    pub container_ports: (u16, u16),
}

/// A published range: host and container ports have the same number, in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// `None` for every address of the node; `0.0.0.0` and `::` for every address of one family.
    pub host_ip: Option<IpAddr>,
    /// First host port.
    pub host_port: u16,
    /// Last host port.
    pub host_port_end: u16,
    /// First container port.
    pub container_port: u16,
    /// Last container port.
    pub container_port_end: u16,
    /// Sources that may use it; empty for everybody.
    pub allow: Vec<IpNet>,
    /// Number of the allow-list in the map schema; 0 if `allow` is empty.
    pub allow_list: u32,
}
