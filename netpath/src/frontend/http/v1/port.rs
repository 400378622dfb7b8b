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
