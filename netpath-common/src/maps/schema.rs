//! One declaration for each pinned map.

/// Incremented whenever the layout or the meaning of a map changes; part of the pin path
/// `<bpf-dir>/maps-v<SCHEMA_VERSION>/<map>`.
pub const SCHEMA_VERSION: u32 = 2;

/// Default capacity of `flows` in flows (a flow has two entries) if memory permits.
pub const DEFAULT_FLOWS: u32 = 1_048_576;
/// Smallest default capacity of `flows`, in flows; a power of two.
pub const LEAST_DEFAULT_FLOWS: u32 = 65_536;
/// Memory per flow of a full table, in bytes: two elements (192 bytes each), its share of the buckets
/// (32), and a slot of `flow_index` (40). `tests/prog/capacity.rs` measures it.
pub const BYTES_PER_FLOW: u64 = 456;
/// Largest default limit of the half-open flows of one endpoint and direction; a power of two.
pub const DEFAULT_HALF_OPEN: u32 = 16_384;
/// Most elements of `half_open`: all rings of half-open flows take at most 8 MiB.
pub const MAX_HALF_OPEN_ELEMENTS: u32 = 1 << 21;
/// Fewest elements of `half_open`: each endpoint has room for one in each direction.
pub const MIN_HALF_OPEN_ELEMENTS: u32 = 2 * MAX_ENDPOINTS;
/// Capacity of `endpoints`. Slot 0 is unused, so an empty entry never names an endpoint.
pub const MAX_ENDPOINTS: u32 = 16_384;
/// Capacity of `networks`.
pub const MAX_NETWORKS: u32 = 4_096;
/// Capacity of `addresses`: both families of each endpoint, and the addresses of the node.
pub const MAX_ADDRESSES: u32 = 65_536;
/// Capacity of `subnets`.
pub const MAX_SUBNETS: u32 = 16_384;
/// Capacity of `ports`, in ranges.
pub const MAX_PORTS: u32 = 131_072;
/// Capacity of `allow`.
pub const MAX_ALLOW: u32 = 65_536;
/// Capacity of `denied`.
pub const MAX_DENIED: u32 = 131_072;
/// Capacity of `peers`.
pub const MAX_PEERS: u32 = 8_192;
/// Capacity of `remotes`: the blocks of every network, and addresses that are not in the block of their node.
pub const MAX_REMOTES: u32 = 131_072;
/// Capacity of `devices`.
pub const MAX_DEVICES: u32 = 32_768;
/// Capacity of `link_owners`: the addresses of every endpoint.
pub const MAX_LINK_OWNERS: u32 = MAX_ENDPOINTS * LINK_ADDRESSES as u32;
/// Capacity of `socket_peers`.
pub const MAX_SOCKET_PEERS: u32 = 65_536;
/// Capacity of `fragments`: fragmented datagrams in transit.
pub const MAX_KNOWN: u32 = 16_384;
/// Capacity of `pending`: datagrams whose first fragment has not arrived.
pub const MAX_PENDING: u32 = 4_096;
/// Capacity of `buffered`: fragments that arrived before the first one of their datagram; a power of two.
pub const MAX_BUFFERED: u32 = 512;
/// Capacity of `host_echoes`: echo requests of the node that may still get a reply.
pub const MAX_HOST_ECHOES: u32 = 4_096;
/// Capacity of `next_hops`: routers, and devices with directly connected destinations.
pub const MAX_NEXT_HOPS: u32 = 4_096;
/// Capacity of `outer_tuples`.
pub const MAX_OUTER_TUPLES: u32 = 65_536;
/// Capacity of `avoided_ports`: the ports of TCP, and then those of UDP.
pub const AVOIDED_PORTS: u32 = 2 * 65_536;

/// The kind of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_ARRAY`.
    Array,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray,
    /// `BPF_MAP_TYPE_HASH`, without preallocation.
    HashMap,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHashMap,
    /// `BPF_MAP_TYPE_LPM_TRIE`; a key is a 32-bit prefix length, followed by the declared key.
    LpmTrie,
}

/// The declaration of a pinned map.
#[derive(Clone, Copy, Debug)]
pub struct MapDeclaration {
    /// Name of the map, and of its pin.
    pub name: &'static str,
    /// Its kind.
    pub kind: MapKind,
    /// Size of a key in bytes.
    pub key_size: u32,
    /// Size of a value in bytes.
    pub value_size: u32,
    /// Number of entries. The daemon's settings replace it for `flows`, `half_open` and `flow_index`.
    pub capacity: u32,
}

/// Calls `$callback` with the declaration of every pinned map, each in the form
/// `"name" STATIC: Kind[Key => Value; capacity], "writer" => "readers";`.
///
/// The programs define the maps from it ([`MAPS`] describes them to user space), so only this list states the
/// name, kind, types and capacity of a map. Types and constants are named as in this module.
#[macro_export]
macro_rules! for_each_map {
    ($callback:ident) => {
        $callback! {
            "config" CONFIG: Array[u32 => Config; 1], "daemon" => "programs";
            "devices" DEVICES: HashMap[u32 => Device; MAX_DEVICES], "daemon" => "programs";
            "endpoints" ENDPOINTS: Array[u32 => Endpoint; MAX_ENDPOINTS], "daemon" => "programs, CLI";
            "forwarders" FORWARDERS: HashMap[ForwarderKey => u32; MAX_ENDPOINTS], "daemon" => "programs";
            "sent_until" SENT_UNTIL: Array[u32 => u64; MAX_ENDPOINTS], "programs" => "programs";
            "networks" NETWORKS: HashMap[u32 => Network; MAX_NETWORKS], "daemon" => "CLI";
            "addresses" ADDRESSES: HashMap[Addr => AddressRecord; MAX_ADDRESSES], "daemon" => "programs";
            "subnets" SUBNETS: LpmTrie[[u8; 16] => Subnet; MAX_SUBNETS], "daemon" => "programs";
            "link_addresses" LINK_ADDRESSES_MAP: Array[u32 => LinkAddresses; MAX_ENDPOINTS],
                "programs" => "programs";
            "link_owners" LINK_OWNERS: HashMap[LinkKey => LinkOwner; MAX_LINK_OWNERS], "programs" => "programs";
            "ports" PORTS: HashMap[PortKey => PublishedRange; MAX_PORTS], "daemon" => "programs, CLI";
            "allow" ALLOW: LpmTrie[[u8; 20] => u32; MAX_ALLOW], "daemon" => "programs";
            "denied" DENIED: LpmTrie[[u8; 20] => Denied; MAX_DENIED], "daemon" => "programs";
            "peers" PEERS: HashMap[Addr => Peer; MAX_PEERS], "daemon" => "programs, CLI";
            "remotes" REMOTES: LpmTrie[[u8; 20] => Remote; MAX_REMOTES], "daemon, programs" => "programs, CLI";
            "vnis" VNIS: HashMap[u32 => u32; MAX_NETWORKS], "daemon" => "programs";
            "own_ports" OWN_PORTS: HashMap[PortKey => PublishedRange; MAX_PORTS], "daemon" => "programs";
            "reserved_ports" RESERVED_PORTS: Array[u32 => u64; RESERVED_WORDS], "daemon" => "programs";
            "outer_tuples" OUTER_TUPLES: HashMap[FlowKey => OuterTuple; MAX_OUTER_TUPLES], "programs" => "programs, daemon";
            "avoided_ports" AVOIDED: Array[u32 => u64; AVOIDED_PORTS], "programs" => "programs";
            "flows" FLOWS: HashMap[FlowKey => FlowEntry; LEAST_DEFAULT_FLOWS * 2],
                "programs" => "programs, daemon, CLI";
            "half_open" HALF_OPEN: Array[u32 => HalfOpenBlock; MIN_HALF_OPEN_ELEMENTS / HALF_OPEN_BLOCK], "programs" => "programs";
            "flow_index" FLOW_INDEX: Array[u32 => FlowKey; LEAST_DEFAULT_FLOWS], "programs" => "programs";
            "fragments" FRAGMENTS: LruHashMap[FragmentKey => KnownDatagram; MAX_KNOWN],
                "programs" => "programs, CLI";
            "pending" PENDING: LruHashMap[FragmentKey => PendingDatagram; MAX_PENDING], "programs" => "programs";
            "buffered" BUFFERED: Array[u32 => BufferedFragment; MAX_BUFFERED], "programs" => "programs";
            "host_echoes" HOST_ECHOES: LruHashMap[FlowKey => u64; MAX_HOST_ECHOES], "programs" => "programs";
            "next_hops" NEXT_HOPS: LruHashMap[u32 => NextHop; MAX_NEXT_HOPS], "programs" => "programs";
            "cursors" CURSORS_MAP: Array[u32 => u32; CURSORS], "programs" => "programs";
            "usage" USAGE: Array[u32 => Usage; MAX_ENDPOINTS], "programs, daemon" => "programs, daemon";
            "counters" COUNTERS_MAP: PerCpuArray[u32 => Count; COUNTERS], "programs" => "daemon, CLI";
            "socket_peers" SOCKET_PEERS: LruHashMap[SocketPeer => SocketAddr; MAX_SOCKET_PEERS],
                "programs" => "programs";
        }
    };
}

macro_rules! declare {
    ($($name:literal $static:ident: $kind:ident[$key:ty => $value:ty; $capacity:expr], $writer:literal => $readers:literal;)+) => {
        /// Every pinned map.
        ///
        /// | map | kind | key → value | capacity | written by | read by |
        /// |---|---|---|---|---|---|
        $(#[doc = concat!(
            "| `", $name, "` | ", stringify!($kind), " | `", stringify!($key), "` → `", stringify!($value), "` | `",
            stringify!($capacity), "` | ", $writer, " | ", $readers, " |"
        )])+
        pub const MAPS: &[MapDeclaration] = &[$(MapDeclaration {
            name: $name,
            kind: MapKind::$kind,
            key_size: size_of::<$key>() as u32 + MapKind::$kind.prefix_size(),
            value_size: size_of::<$value>() as u32,
            capacity: $capacity,
        }),+];
    };
}

impl MapKind {
    /// Size in bytes of the prefix length that precedes the declared key.
    const fn prefix_size(self) -> u32 {
        match self {
            Self::LpmTrie => 4,
            Self::Array | Self::PerCpuArray | Self::HashMap | Self::LruHashMap => 0,
        }
    }
}

use super::{
    Addr, AddressRecord, BufferedFragment, CURSORS, Config, Count, Denied, Device, Endpoint,
    FlowEntry, FlowKey, ForwarderKey, FragmentKey, HALF_OPEN_BLOCK, HalfOpenBlock, KnownDatagram,
    LINK_ADDRESSES, LinkAddresses, LinkKey, LinkOwner, Network, NextHop, OuterTuple, Peer,
    PendingDatagram, PortKey, PublishedRange, RESERVED_WORDS, Remote, SocketAddr, SocketPeer,
    Subnet, Usage,
};
use crate::reason::COUNTERS;

for_each_map!(declare);
