//! Requests. Each is a function of [`super::State`] that returns a [`super::Change`] and does not change the state.
//!
//! [`Env`] contains the properties of the node on which requests depend.

mod adopt;
mod allocate;
mod connect;
mod deny;
mod endpoint;
mod error;
mod network;
mod overlay;
mod publish;
mod sandbox;
mod subnet;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use ipnet::IpNet;

use super::{Name, NetnsId, NetworkMode, Owner, ProcessId, Protocol};
use crate::ipam::Pool;

pub use deny::DENY_LIMIT;
pub use endpoint::{AdoptedVeth, EndpointRequest};
pub use error::{ErrorKind, RequestError};
pub use network::{AdoptedBridge, BuiltIn, NetworkRequest};
pub use sandbox::SandboxRequest;
pub use subnet::route_warnings;

/// Properties of the node, in addition to the state, on which requests depend.
pub struct Env<'a> {
    /// Random numbers, for ids and unique local subnets.
    pub random: &'a mut dyn FnMut() -> u64,
    /// Directly connected prefixes of the node, without those of netpath's networks. No new subnet may overlap them.
    pub connected: &'a [IpNet],
    /// Prefixes of other routes of the node, without default routes. A subnet that the request does not name overlaps them
    /// only if there is no other.
    pub routed: &'a [IpNet],
    /// Pools of subnets, for requests that name no subnet.
    pub pools: &'a [Pool],
    /// The program that listens on a port of the node, at an address that overlaps the given one; `None` is any
    /// address. The engine that manages the sandbox, which binds the ports of its containers, is left out.
    pub listening: &'a dyn Fn(Owner, Protocol, Option<IpAddr>, u16) -> Option<String>,
    /// First and last port of the range from which a host port is chosen if the request names none.
    pub free_ports: (u16, u16),
    /// UDP port of the overlay.
    pub tunnel_port: u16,
    /// Path of the node's own namespace.
    pub host_netns: &'a Path,
    /// Interface names in the namespace of the sandbox; a new endpoint gets another name.
    pub interfaces: &'a [String],
}

/// A network of a sandbox to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkChoice {
    /// An endpoint in this network.
    Network(Name),
    /// The namespace of the node.
    Host,
    /// A loopback device only.
    None,
    /// The namespace of this sandbox.
    Container(Name),
}

impl FromStr for NetworkChoice {
    type Err = String;

    /// From `host`, `none`, `container:NAME` or the name of a network.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(NetworkMode::Host) => Ok(Self::Host),
            Ok(NetworkMode::None) => Ok(Self::None),
            Ok(NetworkMode::Container(name)) => Ok(Self::Container(name)),
            Err(error) if text.starts_with("container:") => Err(error),
            Ok(NetworkMode::Network) | Err(_) => match text.parse() {
                Ok(name) => Ok(Self::Network(name)),
                Err(error) => Err(format!("{error}")),
            },
        }
    }
}

/// Where the namespace of a new sandbox comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A namespace that netpath creates, mounted in this directory under the name of the sandbox.
    Created {
        /// Directory.
        directory: PathBuf,
    },
    /// The namespace at a path.
    Path {
        /// Path.
        path: PathBuf,
        /// The namespace.
        namespace: NetnsId,
    },
    /// The namespace of a process.
    Process {
        /// The process.
        process: ProcessId,
        /// Path by which the namespace can be opened.
        path: PathBuf,
        /// The namespace.
        namespace: NetnsId,
    },
}
