//! Rows of the pinned maps, in the types of the model and of the map schema.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{
    addr::MacAddr,
    flow::{Kind, State},
    reason::Reason,
};

use crate::{datapath::tables::SandboxFlows, model::Protocol};

/// A pinned map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUse {
    /// Name of the pin.
    pub name: String,
    /// Kind as the kernel names it: `hash`, `lpm_trie`, …
    pub kind: &'static str,
    /// Entries in use; all of them for arrays.
    pub entries: u64,
    /// Capacity in entries.
    pub max_entries: u64,
    /// Memory in bytes.
    pub bytes: u64,
}

impl MapUse {
    /// Whether new entries are refused when the map is full: neither an array nor an LRU map.
    pub fn can_fill(&self) -> bool {
        !self.kind.contains("array") && self.kind != "lru_hash"
    }
}

/// Addresses and ports of one direction of a flow. For ICMP echo the identifier is `source_port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub destination_port: u16,
}

/// A flow with both its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Protocol number in the IP header.
    pub protocol: u8,
    /// Translation.
    pub kind: Kind,
    /// State of the flow, which both directions determine.
    pub state: State,
    /// Tuple of the side that opened the flow, before translation.
    pub original: Tuple,
    /// Tuple of the other side, before translation.
    pub reply: Tuple,
    /// Name of the sandbox; `None` for a connection of the node itself.
    pub sandbox: Option<String>,
    /// Name of the sandbox's network; `None` if the network was removed or there is no sandbox.
    pub network: Option<String>,
    /// Packets in the original and in the reply direction.
    pub packets: [u64; 2],
    /// Bytes in the original and in the reply direction.
    pub bytes: [u64; 2],
    /// Seconds since the flow was created.
    pub age_s: u64,
    /// Seconds until the flow expires if it stays idle.
    pub expires_s: u64,
}

/// What identifies the fragments of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentId {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Identification: 16 bits in IPv4, 32 bits in IPv6.
    pub id: u32,
}

/// A datagram whose first fragment was translated and whose later fragments are expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragments {
    /// Protocol number; `None` for IPv6, where not every fragment carries it.
    pub protocol: Option<u8>,
    /// Before translation.
    pub original: FragmentId,
    /// After translation.
    pub translated: FragmentId,
    /// Name of the sandbox.
    pub sandbox: String,
    /// Name of the sandbox's network; empty if the network was removed.
    pub network: String,
    /// Bytes forwarded so far.
    pub bytes: u64,
    /// Length of the datagram in bytes; `None` before its last fragment.
    pub total: Option<u64>,
    /// Seconds since the latest fragment.
    pub age_s: u64,
    /// Seconds until the entry expires.
    pub expires_s: u64,
}

/// A published range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRange {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Name of its network; empty if the network was removed.
    pub network: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Host address; `None` for every address of the node.
    pub host_ip: Option<IpAddr>,
    /// First and last host port.
    pub host_ports: (u16, u16),
    /// Address of the sandbox.
    pub container_ip: IpAddr,
    /// Every address of the sandbox's endpoint.
    pub addresses: Vec<IpAddr>,
    /// First container port.
    pub container_port: u16,
    /// Allowed sources; empty for all.
    pub allow: Vec<IpNet>,
    /// Whether a container engine binds the ports with sockets of its own.
    pub held_by_engine: bool,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Slot in the map `endpoints`.
    pub slot: u32,
    /// Generation of the slot.
    pub generation: u32,
    /// Name of the sandbox.
    pub sandbox: String,
    /// Name of the network; empty if the network was removed.
    pub network: String,
    /// Name of the host interface; empty if the interface was removed.
    pub interface: String,
    /// MAC address of the container link.
    pub mac: MacAddr,
    /// At most one per family.
    pub addresses: Vec<IpAddr>,
    /// At most one per family.
    pub gateways: Vec<IpAddr>,
    /// MTU in bytes.
    pub mtu: u32,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Index in the map `networks`.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Interface name of the bridge; empty if the bridge was removed.
    pub bridge: String,
    /// Names of the flags that are set.
    pub flags: Vec<&'static str>,
}

/// Packets that were counted under one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Reason of the verdict.
    pub reason: Reason,
    /// Packets; a GSO packet counts once.
    pub packets: u64,
    /// Bytes, link header included.
    pub bytes: u64,
}

/// Use and limits of the flow table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTable {
    /// Flows in the table, expired ones included until they are removed.
    pub entries: u64,
    /// Capacity in flows.
    pub capacity: u64,
    /// Limit of the half-open flows of one endpoint and direction.
    pub half_open_budget: u64,
    /// Quota of TCP flows and sustained flows of one endpoint.
    pub per_sandbox_limit: u64,
    /// Memory per flow in bytes.
    pub bytes_per_flow: u64,
    /// Sandboxes with most flows, in descending order, at most five.
    pub top: Vec<SandboxFlows>,
    /// Idle limits in nanoseconds, by the names of the settings.
    pub timers: Vec<(&'static str, u64)>,
}
