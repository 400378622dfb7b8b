//! The stored form of the model's objects.
//!
//! Records that the nodes of a cluster share and records of this node only have different prefixes:
//!
//! | key | record | contents |
//! |---|---|---|
//! | `shared/networks/NAME` | [`NetworkDefinition`] | a network of global scope |
//! | `shared/nodes/NAME` | [`NodeRecord`] | a node |
//! | `shared/ranges` | [`OverlayRanges`](crate::model::OverlayRanges) | VNIs and subnets of all networks of global scope |
//! | `shared/blocks/NAME` | [`Claims`](crate::model::claims::Claims) | addresses of such a network that nodes have claimed |
//! | `shared/endpoints/ID` | [`PublishedEndpoint`] | a copy of an endpoint in such a network, for other nodes |
//! | `shared/alive/NAME` | id | exists while the node is running |
//! | `local/networks/NAME` | [`NetworkDefinition`] | a network that this node uses, of either scope |
//! | `local/blocks/NAME` | [`OwnClaims`](crate::model::OwnClaims) | addresses of a network of global scope that this node has claimed |
//! | `local/endpoints/ID` | [`EndpointDefinition`] | an endpoint of this node, in a network of either scope |
//! | `local/network-slots/NAME` | [`NetworkSlot`] | index and bridge of a network on this node |
//! | `local/endpoint-slots/ID` | [`EndpointSlot`] | slot, generation and devices of an endpoint on this node |
//! | `local/sandboxes/NAME` | [`SandboxRecord`] | namespace, process and ports of a sandbox |
//! | `local/denied/PREFIX` | [`DenialRecord`] | an entry of the deny list that a command has made |
//! | `local/node-id` | id | random number of this state directory |
//! | `local/node` | name | this node's name when it last stored its [`NodeRecord`] |
//! | `local/generation` | number | highest slot generation that was ever used |

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use serde::{Deserialize, Serialize};

use crate::model::{
    Driver, Endpoint, GatewayMode, Id, Name, NetnsSource, Network, NetworkMode, Overlay, Owner,
    PortMapping, ProcessId, Rate, Sandbox, Subnet, deny::Moment,
};

/// Properties of a network that are the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkDefinition {
    id: Id,
    name: Name,
    driver: Driver,
    subnets: Vec<Subnet>,
    mtu: Option<u32>,
    internal: bool,
    icc: bool,
    masquerade: bool,
    gateway_mode: GatewayMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overlay: Option<Overlay>,
    labels: BTreeMap<String, String>,
    owner: Owner,
}

/// A node of the cluster. Written by that node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRecord {
    /// Name.
    pub name: Name,
    /// Addresses at which other nodes reach it: the underlay address of the settings, or the addresses of its interfaces
    /// with a default route. May be empty.
    pub addresses: Vec<IpAddr>,
    /// Version of its daemon.
    pub version: String,
    /// Random number of its state directory. Another node with the same name has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// Whether an operator has removed it from the cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// Properties of a network that are local to this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSlot {
    index: u32,
    adopted: Option<String>,
}

/// Properties of an endpoint that the node has not assigned to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointDefinition {
    id: Id,
    network: Name,
    /// `None` while it has no sandbox.
    pub sandbox: Option<Name>,
    #[serde(with = "crate::model::mac_text")]
    mac: MacAddr,
    addresses: Vec<IpNet>,
    owner: Owner,
}

/// Properties of an endpoint that are local to this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSlot {
    interface: String,
    adopted: Option<String>,
    #[serde(default)]
    rate: Option<Rate>,
    slot: u32,
    generation: u32,
}

/// A copy of an endpoint of an overlay network, for other nodes. It decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedEndpoint {
    /// Its id.
    pub id: Id,
    /// Its network.
    pub network: Name,
    /// Its node.
    pub node: Name,
    /// Its sandbox; `None` if it has none.
    pub sandbox: Option<Name>,
    #[serde(with = "crate::model::mac_text")]
    mac: MacAddr,
    addresses: Vec<IpNet>,
}

impl PublishedEndpoint {
    /// The copy of an endpoint of `node`.
    pub fn of(endpoint: &Endpoint, sandbox: Option<&Name>, node: &Name) -> Self {
        Self {
            id: endpoint.id,
            network: endpoint.network.clone(),
            node: node.clone(),
            sandbox: sandbox.cloned(),
            mac: endpoint.mac,
            addresses: endpoint.addresses.clone(),
        }
    }
}

/// A sandbox of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxRecord {
    id: Id,
    name: Name,
    mode: NetworkMode,
    netns: PathBuf,
    source: NetnsSource,
    process: Option<ProcessId>,
    hostname: String,
    owner: Owner,
    #[serde(default)]
    forwarding: bool,
    /// Ids of its endpoints, in the order of [`Sandbox::endpoints`].
    pub endpoints: Vec<Id>,
    ports: Vec<PortMapping>,
}

/// An entry of the deny list; its prefix is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenialRecord {
    /// When it expires; `None` for never.
    pub expires: Option<Moment>,
}

impl NetworkDefinition {
    /// The definition of a network.
    pub fn of(network: &Network) -> Self {
        Self {
            id: network.id,
            name: network.name.clone(),
            driver: network.driver,
            subnets: network.subnets.clone(),
            mtu: network.mtu,
            internal: network.internal,
            icc: network.icc,
            masquerade: network.masquerade,
            gateway_mode: network.gateway_mode,
            overlay: network.overlay,
            labels: network.labels.clone(),
            owner: network.owner,
        }
    }

    /// The network, from its definition and its slot on this node.
    pub fn with(self, slot: NetworkSlot) -> Network {
        Network {
            id: self.id,
            name: self.name,
            driver: self.driver,
            subnets: self.subnets,
            mtu: self.mtu,
            internal: self.internal,
            icc: self.icc,
            masquerade: self.masquerade,
            gateway_mode: self.gateway_mode,
            overlay: self.overlay,
            labels: self.labels,
            owner: self.owner,
            adopted: slot.adopted,
            index: slot.index,
        }
    }

    /// The network on a node that does not use it.
    pub fn unused(self) -> Network {
        self.with(NetworkSlot {
            index: 0,
            adopted: None,
        })
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

impl NetworkSlot {
    /// The slot of a network on this node.
    pub fn of(network: &Network) -> Self {
        Self {
            index: network.index,
            adopted: network.adopted.clone(),
        }
    }
}

impl EndpointDefinition {
    /// The definition of an endpoint.
    pub fn of(endpoint: &Endpoint, sandbox: Option<&Name>) -> Self {
        Self {
            id: endpoint.id,
            network: endpoint.network.clone(),
            sandbox: sandbox.cloned(),
            mac: endpoint.mac,
            addresses: endpoint.addresses.clone(),
            owner: endpoint.owner,
        }
    }

    /// The endpoint, from its definition and its slot on this node.
    pub fn with(self, slot: EndpointSlot) -> Endpoint {
        Endpoint {
            id: self.id,
            network: self.network,
            interface: slot.interface,
            mac: self.mac,
            addresses: self.addresses,
            owner: self.owner,
            rate: slot.rate,
            adopted: slot.adopted,
            slot: slot.slot,
            generation: slot.generation,
        }
    }

    /// Its id.
    pub fn id(&self) -> Id {
        self.id
    }
}

impl EndpointSlot {
    /// The slot of an endpoint on this node.
    pub fn of(endpoint: &Endpoint) -> Self {
        Self {
            interface: endpoint.interface.clone(),
            adopted: endpoint.adopted.clone(),
            rate: endpoint.rate,
            slot: endpoint.slot,
            generation: endpoint.generation,
        }
    }
}

impl SandboxRecord {
    /// The record of a sandbox.
    pub fn of(sandbox: &Sandbox) -> Self {
        Self {
            id: sandbox.id,
            name: sandbox.name.clone(),
            mode: sandbox.mode.clone(),
            netns: sandbox.netns.clone(),
            source: sandbox.source.clone(),
            process: sandbox.process,
            hostname: sandbox.hostname.clone(),
            owner: sandbox.owner,
            forwarding: sandbox.forwarding,
            endpoints: sandbox.endpoints.iter().map(|other| other.id).collect(),
            ports: sandbox.ports.clone(),
        }
    }

    /// The sandbox with its endpoints.
    pub fn with(self, endpoints: Vec<Endpoint>) -> Sandbox {
        Sandbox {
            id: self.id,
            name: self.name,
            mode: self.mode,
            netns: self.netns,
            source: self.source,
            process: self.process,
            hostname: self.hostname,
            owner: self.owner,
            forwarding: self.forwarding,
            endpoints,
            ports: self.ports,
        }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }
}
