//! Requests: each is answered by a function of [`super::State`] that makes a [`super::Change`] and changes nothing
//! itself.
//!
//! What lies outside of the state is handed in as [`Env`].

mod adopt;
mod connect;
mod endpoint;
mod error;
mod mint;
mod network;
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

use super::{Name, NetworkMode, ProcessId, Protocol};
use crate::ipam::Pool;

pub use endpoint::{AdoptedVeth, EndpointRequest};
pub use error::{ErrorKind, RequestError};
pub use network::{AdoptedBridge, NetworkRequest};
pub use sandbox::SandboxRequest;

/// What a request must know that is not in the state.
pub struct Env<'a> {
    /// Random numbers, for ids and unique local subnets.
    pub random: &'a mut dyn FnMut() -> u64,
    /// Prefixes of the node's addresses and routes that are not netpath's: no subnet may overlap them. The default
    /// route is not among them.
    pub avoid: &'a [IpNet],
    /// Where subnets come from when none is asked for.
    pub pools: &'a [Pool],
    /// Who listens on a port of the node, on the given address or one that covers it; `None` asks for every address.
    pub listening: &'a dyn Fn(Protocol, Option<IpAddr>, u16) -> Option<String>,
    /// First and last of the host ports that are chosen from when none is asked for.
    pub free_ports: (u16, u16),
    /// UDP port of the overlay.
    pub tunnel_port: u16,
    /// Path of the node's own namespace.
    pub host_netns: &'a Path,
}

/// One network that a sandbox asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkChoice {
    /// An endpoint in this network.
    Network(Name),
    /// The node's own namespace.
    Host,
    /// Only a loopback device.
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

/// Where a sandbox's namespace is to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// netpath makes it, mounted in this directory under the sandbox's name.
    Created {
        /// Directory.
        directory: PathBuf,
    },
    /// It exists at this path.
    Path {
        /// Path.
        path: PathBuf,
        /// Inode of the namespace.
        inode: u64,
    },
    /// It is a process's.
    Process {
        /// The process.
        process: ProcessId,
        /// Path by which the namespace can be opened.
        path: PathBuf,
        /// Inode of the namespace.
        inode: u64,
    },
}
