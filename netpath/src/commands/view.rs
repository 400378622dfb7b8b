//! Results of commands: objects of the model with properties that are derived from other objects.

use std::{net::IpAddr, path::PathBuf};

use super::{Node, ended::process_number};
use crate::{
    model::{
        Endpoint, GatewayMode, Name, NetnsId, Network, NetworkMode, Owner, PortMapping, Sandbox,
    },
    plan,
};

/// MTU of the loopback device, the only device of networks without endpoints.
const LOOPBACK_MTU: u32 = 65_536;

/// A network with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkView {
    /// The network.
    pub network: Network,
    /// Effective MTU in bytes.
    pub mtu: u32,
    /// Names of the sandboxes with an endpoint in it.
    pub sandboxes: Vec<Name>,
    /// What the user should know about a new network; otherwise empty.
    pub warnings: Vec<String>,
}

/// An endpoint with its sandbox and the properties of its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Name of its sandbox; `None` if it has none.
    pub sandbox: Option<Name>,
    /// Gateways of the network, at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Effective MTU in bytes; 0 if the network does not exist.
    pub mtu: u32,
}

/// A sandbox with its endpoints and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxView {
    /// The sandbox.
    pub sandbox: Sandbox,
    /// Its endpoints, in the order of [`Sandbox::endpoints`].
    pub endpoints: Vec<EndpointView>,
    /// Its published ports.
    pub ports: Vec<PortView>,
    /// PID of its process; `None` if no process of the sandbox is known, or it does not run.
    pub pid: Option<i32>,
    /// Its namespace, if another program has created it.
    pub adopted: Option<NetnsId>,
}

/// A published range with the network of the endpoint that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// Name of the sandbox.
    pub sandbox: Name,
    /// Name of the network.
    pub network: Name,
    /// Owner of the sandbox, and so of the port.
    pub owner: Owner,
    /// The range.
    pub mapping: PortMapping,
    /// Address of the sandbox, of the same family as the host address if there is one.
    pub container_ip: IpAddr,
    /// Addresses of the endpoint that the range leads to.
    pub addresses: Vec<IpAddr>,
}

impl Node {
    pub(super) fn network_view(&self, network: &Network) -> NetworkView {
        NetworkView {
            network: network.clone(),
            mtu: if network.has_endpoints() {
                plan::mtu(network, &self.facts.facts)
            } else {
                network.mtu.unwrap_or(LOOPBACK_MTU)
            },
            sandboxes: self.state().members(&network.name).cloned().collect(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn sandbox_view(&self, sandbox: &Sandbox) -> SandboxView {
        let endpoints = sandbox.endpoints.iter();
        SandboxView {
            sandbox: Sandbox {
                netns: self.netns_of(sandbox),
                ..sandbox.clone()
            },
            adopted: self.adopted_namespace(sandbox),
            endpoints: endpoints
                .map(|endpoint| self.endpoint_view(endpoint, Some(&sandbox.name)))
                .collect(),
            ports: self.port_views(sandbox),
            pid: process_number(sandbox),
        }
    }

    /// Path of the namespace of a sandbox. The path of the node's namespace is not taken from the store, because an
    /// earlier daemon may have used another path.
    fn netns_of(&self, sandbox: &Sandbox) -> PathBuf {
        match &sandbox.mode {
            NetworkMode::Host => self.host_netns.clone(),
            NetworkMode::Container(target) => match self.state().sandbox(target) {
                Ok(target) => self.netns_of(target),
                Err(_) => sandbox.netns.clone(),
            },
            NetworkMode::Network | NetworkMode::None => sandbox.netns.clone(),
        }
    }

    /// The adopted namespace of a sandbox, or of the sandbox whose namespace it uses.
    fn adopted_namespace(&self, sandbox: &Sandbox) -> Option<NetnsId> {
        match &sandbox.mode {
            NetworkMode::Container(target) => {
                let target = self.state().sandbox(target).ok()?;
                self.adopted_namespace(target)
            }
            _ => sandbox.source.adopted(),
        }
    }

    pub(super) fn endpoint_view(
        &self,
        endpoint: &Endpoint,
        sandbox: Option<&Name>,
    ) -> EndpointView {
        let network = self.state().network(&endpoint.network).ok();
        let subnets = network.into_iter().flat_map(|network| &network.subnets);
        EndpointView {
            endpoint: endpoint.clone(),
            sandbox: sandbox.cloned(),
            gateways: subnets.map(|subnet| subnet.gateway).collect(),
            mtu: network.map_or(0, |network| plan::mtu(network, &self.facts.facts)),
        }
    }

    /// Published ports of a sandbox; empty while it has no endpoint in a network with external access.
    pub(super) fn port_views(&self, sandbox: &Sandbox) -> Vec<PortView> {
        let Some((endpoint, network)) = self.state().port_carrier(sandbox) else {
            return Vec::new();
        };
        let address = |family: Option<IpAddr>| {
            let any = || endpoint.addresses.first().map(ipnet::IpNet::addr);
            family.and_then(|ip| endpoint.address(ip)).or_else(any)
        };
        let view = |mapping: &PortMapping| {
            let nat = network.gateway_mode == GatewayMode::Nat;
            Some(PortView {
                sandbox: sandbox.name.clone(),
                network: network.name.clone(),
                owner: sandbox.owner,
                mapping: mapping.clone(),
                container_ip: address(mapping.host_ip.filter(|_| nat))?,
                addresses: endpoint.addresses.iter().map(ipnet::IpNet::addr).collect(),
            })
        };
        sandbox.ports.iter().filter_map(view).collect()
    }
}
