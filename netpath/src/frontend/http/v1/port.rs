//! Published ports.

use std::{fmt, net::IpAddr};

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Owner;
use crate::model;

/// A published range: both ranges have the same length, and their ports correspond in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Name of the network through which it is reached.
    pub network: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// `null` for every address of the node.
    pub host_ip: Option<IpAddr>,
    /// Address families in which clients are served: those of the sandbox's addresses, or that of the host address.
    pub families: Vec<AddressFamily>,
    /// First host port.
    pub host_port: u16,
    /// Last host port.
    pub host_port_end: u16,
    /// Address of the sandbox.
    pub container_ip: IpAddr,
    /// First container port.
    pub container_port: u16,
    /// Last container port.
    pub container_port_end: u16,
    /// Allowed sources; empty for all.
    pub allow: Vec<IpNet>,
    /// Front end that may change it. Missing in dumps of the pinned maps, which do not contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl AddressFamily {
    /// The families that clients of a host address use, of a sandbox with these addresses. `None` is every address of the node.
    pub fn served(host_ip: Option<IpAddr>, addresses: &[IpAddr]) -> Vec<Self> {
        let families = [(Self::Ipv4, false), (Self::Ipv6, true)];
        let is_served = |v6: bool| {
            addresses.iter().any(|ip| ip.is_ipv6() == v6)
                && host_ip.is_none_or(|ip| ip.is_ipv6() == v6)
        };
        families
            .into_iter()
            .filter(|(_, v6)| is_served(*v6))
            .map(|(family, _)| family)
            .collect()
    }
}

/// A transport protocol that ports can be published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, RFC 9293.
    Tcp,
    /// UDP, RFC 768.
    Udp,
    /// SCTP, RFC 9260.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl From<model::Protocol> for Protocol {
    fn from(protocol: model::Protocol) -> Self {
        match protocol {
            model::Protocol::Tcp => Self::Tcp,
            model::Protocol::Udp => Self::Udp,
            model::Protocol::Sctp => Self::Sctp,
        }
    }
}

/// Publishes ports of a sandbox: `POST /v1/ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Name of the sandbox.
    pub sandbox: String,
    /// `[HOST_IP:][HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]`.
    pub publish: Vec<String>,
    /// Allowed sources; empty for all.
    #[serde(default)]
    pub allow: Vec<IpNet>,
}

/// Withdraws ports of a sandbox: `DELETE /v1/ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpublish {
    /// Name of the sandbox.
    pub sandbox: String,
    /// As in [`Publish`]; without a host port, every host port matches.
    pub publish: Vec<String>,
}
