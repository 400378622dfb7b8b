//! Contents of the pinned maps.

use std::{fmt, net::IpAddr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Port;

/// A pinned map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapInfo {
    /// Name.
    pub name: String,
    /// Kind as the kernel names it: `hash`, `array`, `lpm_trie`, …
    pub kind: String,
    /// Entries in use.
    pub entries: u64,
    /// Capacity in entries.
    pub max_entries: u64,
    /// Memory in bytes.
    pub bytes: u64,
}

/// Tables that can be dumped: `GET /v1/maps/NAME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MapTable {
    /// Flows and their translations.
    #[default]
    Nat,
    /// Published ports.
    Ports,
    /// Endpoints.
    Endpoints,
    /// Networks.
    Networks,
    /// Other nodes.
    Peers,
    /// Datagrams that are translated in fragments.
    Fragments,
    /// Packet counters by reason.
    Counters,
}

impl MapTable {
    /// Every table.
    pub const ALL: &[Self] = &[
        Self::Nat,
        Self::Ports,
        Self::Endpoints,
        Self::Networks,
        Self::Peers,
        Self::Fragments,
        Self::Counters,
    ];

    /// The table of this name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        <Self as ValueEnum>::from_str(name, false).ok()
    }
}

impl fmt::Display for MapTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nat => "nat",
            Self::Ports => "ports",
            Self::Endpoints => "endpoints",
            Self::Networks => "networks",
            Self::Peers => "peers",
            Self::Fragments => "fragments",
            Self::Counters => "counters",
        })
    }
}

/// Rows of one table; in JSON, only the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MapDump {
    /// Flows.
    Nat(Vec<NatFlow>),
    /// Published ports.
    Ports(Vec<Port>),
    /// Endpoints.
    Endpoints(Vec<MapEndpoint>),
    /// Networks.
    Networks(Vec<MapNetwork>),
    /// Datagrams in fragments.
    Fragments(Vec<Fragmented>),
    /// Counters.
    Counters(Vec<Counter>),
    /// A table that has no rows in this version: `peers`.
    Empty([(); 0]),
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatFlow {
    /// Transport protocol.
    pub protocol: FlowProtocol,
    /// Translation.
    pub kind: FlowKind,
    /// `new`, `syn-received`, `established`, `half-closed`, `closing`, `refused` or `reset`.
    pub state: String,
    /// Tuple of the side that opened the flow, before translation.
    pub original: Tuple,
    /// Tuple of the other side, before translation.
    pub reply: Tuple,
    /// Name of the sandbox; `null` for a connection of the node itself.
    pub sandbox: Option<String>,
    /// Name of that sandbox's network; `null` if the network was removed or there is no sandbox.
    pub network: Option<String>,
    /// Packets in the original and in the reply direction.
    pub packets: [u64; 2],
    /// Bytes in the original and in the reply direction.
    pub bytes: [u64; 2],
    /// Seconds since it was created.
    pub age_s: u64,
    /// Seconds until it expires if it stays idle.
    pub expires_s: u64,
}

/// A datagram whose first fragment was translated, and whose later fragments are expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragmented {
    /// Number of the transport protocol; `null` for IPv6, where not every fragment carries it.
    pub protocol: Option<u8>,
    /// Before translation.
    pub original: FragmentEnds,
    /// After translation.
    pub translated: FragmentEnds,
    /// Name of the sandbox.
    pub sandbox: String,
    /// Name of that sandbox's network.
    pub network: String,
    /// Bytes forwarded so far.
    pub bytes: u64,
    /// Bytes of the whole datagram; `null` before its last fragment.
    pub total: Option<u64>,
    /// Seconds since the latest fragment.
    pub age_s: u64,
    /// Seconds until the entry expires.
    pub expires_s: u64,
}

/// What identifies the fragments of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentEnds {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Identification.
    pub id: u32,
}

/// Addresses and ports of a packet. For ICMP echo the identifier is `source_port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Transport protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FlowProtocol {
    /// TCP, RFC 9293.
    Tcp,
    /// UDP, RFC 768.
    Udp,
    /// SCTP, RFC 9260.
    Sctp,
    /// ICMP, RFC 792.
    Icmp,
    /// ICMPv6, RFC 4443.
    #[value(name = "icmpv6")]
    Icmpv6,
}

impl FlowProtocol {
    /// From the number in the IP header; `None` for one that is not tracked.
    pub const fn from_number(number: u8) -> Option<Self> {
        use netpath_common::flow;
        match number {
            flow::TCP => Some(Self::Tcp),
            flow::UDP => Some(Self::Udp),
            flow::SCTP => Some(Self::Sctp),
            flow::ICMP => Some(Self::Icmp),
            flow::ICMPV6 => Some(Self::Icmpv6),
            _ => None,
        }
    }
}

impl fmt::Display for FlowProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        })
    }
}

/// Translation of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowKind {
    /// From a sandbox to the outside with the node's address.
    Snat,
    /// From the outside to a published port.
    Dnat,
    /// From a sandbox to a published port of a sandbox of the same node.
    Hairpin,
    /// Tracked, not translated.
    None,
}

impl From<netpath_common::flow::Kind> for FlowKind {
    fn from(kind: netpath_common::flow::Kind) -> Self {
        use netpath_common::flow::Kind;
        match kind {
            Kind::None => Self::None,
            Kind::Snat => Self::Snat,
            Kind::Dnat => Self::Dnat,
            Kind::Hairpin => Self::Hairpin,
        }
    }
}

impl fmt::Display for FlowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Snat => "snat",
            Self::Dnat => "dnat",
            Self::Hairpin => "hairpin",
            Self::None => "none",
        })
    }
}

/// An entry of the endpoints map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapEndpoint {
    /// Slot in the map `endpoints`.
    pub slot: u32,
    /// Generation of the slot.
    pub generation: u32,
    /// Name of the sandbox.
    pub sandbox: String,
    /// Name of the network.
    pub network: String,
    /// Name of the host interface; empty if it was removed.
    pub interface: String,
    /// MAC address of the container link.
    pub mac: String,
    /// At most one for each family.
    pub addresses: Vec<IpAddr>,
    /// At most one for each family.
    pub gateways: Vec<IpAddr>,
    /// MTU in bytes.
    pub mtu: u32,
}

/// An entry of the networks map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapNetwork {
    /// Index in the map `networks`.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Interface name of the bridge; empty if the bridge was removed.
    pub bridge: String,
    /// Flags by name: `internal`, `no-icc`, `masquerade`, `routed`.
    pub flags: Vec<String>,
}

/// Packets that were counted under one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Name of the reason.
    pub name: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Packets; a GSO packet counts once.
    pub packets: u64,
    /// Bytes, link header included.
    pub bytes: u64,
}

/// Verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Passed to the kernel.
    Pass,
    /// Forwarded by netpath.
    Forward,
    /// Dropped.
    Drop,
    /// Consumed: netpath keeps a copy, or has sent one.
    Consume,
    /// Not a packet: a flow was removed before its idle limit.
    Evict,
}

impl From<netpath_common::reason::Verdict> for Verdict {
    fn from(verdict: netpath_common::reason::Verdict) -> Self {
        use netpath_common::reason::Verdict as Theirs;
        match verdict {
            Theirs::Pass => Self::Pass,
            Theirs::Forward => Self::Forward,
            Theirs::Drop => Self::Drop,
            Theirs::Consume => Self::Consume,
            Theirs::Evict => Self::Evict,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Forward => "forward",
            Self::Drop => "drop",
            Self::Consume => "consume",
            Self::Evict => "evict",
        })
    }
}
