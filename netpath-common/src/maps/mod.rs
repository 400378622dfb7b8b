//! The map schema: every pinned map, once.
//!
//! | map | kind | key → value | written by | read by |
//! |---|---|---|---|---|
//! | `config` | array | 0 → [`Config`] | daemon | programs |
//! | `devices` | hash | ifindex → [`Device`] | daemon | programs |
//! | `endpoints` | array | slot → [`Endpoint`] | daemon | programs, CLI |
//! | `networks` | hash | index → [`Network`] | daemon | CLI |
//! | `addresses` | hash | [`Addr`] → [`Address`] | daemon | programs |
//! | `subnets` | LPM trie | [`Prefix`] → [`Subnet`] | daemon | programs |
//! | `ports` | hash | [`PortKey`] → [`Port`] | daemon | programs, CLI |
//! | `allow` | LPM trie | [`AllowKey`] → 1 | daemon | programs |
//! | `snat_taken` | array | word of a bitmap → bits | daemon | programs |
//! | `flows` | hash | [`FlowKey`] → [`Half`] | programs | programs, daemon, CLI |
//! | `half_open` | array | ring index → [`FlowKey`] | programs | programs |
//! | `flow_index` | array | ring index → [`FlowKey`] | programs | programs |
//! | `fragments` | LRU hash | [`FragmentKey`] → [`Fragmented`] | programs | programs, CLI |
//! | `orphans` | LRU hash | [`FragmentKey`] → [`Orphan`] | programs | programs |
//! | `held` | array | ring index → [`Held`] | programs | programs |
//! | `host_echoes` | LRU hash | [`FlowKey`] → nanoseconds | programs | programs |
//! | `cursors` | array | [`Cursor`] → count | programs | programs |
//! | `usage` | array | slot → [`Usage`] | programs, daemon | programs, daemon |
//! | `counters` | per-CPU array | [`crate::reason::Reason`] → [`Count`] | programs | daemon, CLI |
//! | `socket_peers` | LRU hash | [`SocketPeer`] → [`SocketAddr`] | programs | programs |
//!
//! All are pinned in `<bpf-dir>/maps-v<SCHEMA_VERSION>/`.

mod config;
mod endpoint;
mod fragment;
mod port;
mod socket;

pub use config::*;
pub use endpoint::*;
pub use fragment::*;
pub use port::*;
pub use socket::*;

pub use crate::{
    addr::Addr,
    flow::{FlowKey, Half},
};

/// Raised whenever the layout or the meaning of any map changes; part of the pin path.
pub const SCHEMA_VERSION: u32 = 1;

/// Default capacity of `flows` in flows (a flow takes two entries), where memory allows.
pub const DEFAULT_FLOWS: u32 = 1_048_576;
/// The same on the smallest machine; a power of two.
pub const LEAST_DEFAULT_FLOWS: u32 = 65_536;
/// Memory of a flow in a table that is full: two elements (of 184 bytes, allocated as 192), its share of the buckets
/// (32), and a place in `flow_index` (40). `tests/prog/capacity.rs` measures it.
pub const BYTES_PER_FLOW: u64 = 456;
/// Default budget of half-open flows; a power of two.
pub const DEFAULT_HALF_OPEN: u32 = 65_536;
/// Capacity of `endpoints`; slot 0 is never used, so that an empty entry cannot name an endpoint.
pub const MAX_ENDPOINTS: u32 = 16_384;
/// Capacity of `networks`.
pub const MAX_NETWORKS: u32 = 4_096;
/// Capacity of `addresses`: both families of each endpoint, and the node's own.
pub const MAX_ADDRESSES: u32 = 65_536;
/// Capacity of `subnets`.
pub const MAX_SUBNETS: u32 = 16_384;
/// Capacity of `ports`: ranges, not ports.
pub const MAX_PORTS: u32 = 131_072;
/// Capacity of `allow`.
pub const MAX_ALLOW: u32 = 65_536;
/// Capacity of `devices`.
pub const MAX_DEVICES: u32 = 32_768;
/// Capacity of `socket_peers`.
pub const MAX_SOCKET_PEERS: u32 = 65_536;
/// Capacity of `fragments`: datagrams whose fragments are on their way.
pub const MAX_FRAGMENTED: u32 = 16_384;
/// Capacity of `orphans`: datagrams whose first fragment is late.
pub const MAX_ORPHANS: u32 = 4_096;
/// Capacity of `held`: fragments that came before the first one of their datagram; a power of two.
pub const MAX_HELD: u32 = 512;
/// Capacity of `host_echoes`: echo requests of the node that may still be answered.
pub const MAX_HOST_ECHOES: u32 = 4_096;
/// Words of one protocol's bitmap in `snat_taken`: 65,536 ports at 64 a word. TCP stands first, then UDP.
pub const SNAT_WORDS: u32 = 1_024;

/// Packets and bytes of one reason on one CPU.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Count {
    /// Packets; a GSO packet counts once.
    pub packets: u64,
    /// Bytes from the link header on.
    pub bytes: u64,
}

/// The flows of a sandbox, by the slot of its endpoint.
///
/// Each reply half in the table counts for the endpoint it names: that of the sandbox that opened the flow, or, for a
/// flow from outside, of the one whose port is published.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Usage {
    /// Flows. Signed: a number that is off by one must never block a sandbox.
    pub flows: i32,
    /// Generation of the slot that they count for; flows of another one change nothing.
    pub generation: u32,
    /// How many places of `flow_index` were looked through for flows of this sandbox that may go.
    pub reclaimed: u32,
    /// Zero.
    pub pad: u32,
}

/// Index into `cursors`: the next place of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cursor {
    /// Of `half_open`.
    HalfOpen = 0,
    /// Of `flow_index`.
    FlowIndex = 1,
    /// Of `flow_index` too: where a full table was looked through last.
    Reclaim = 2,
    /// Of `held`.
    Held = 3,
    /// No ring: counts the identifications of fragmented datagrams.
    FragmentId = 4,
}

/// Entries of `cursors`.
pub const CURSORS: u32 = 5;

/// A flow that the daemon found idle; see the program `sweep`.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct SweepRecord {
    /// Key of one half.
    pub key: FlowKey,
    /// [`Half::last_seen`] of that half, or [`SWEEP_ALWAYS`].
    pub last_seen: u64,
    /// The same of its twin; ignored if there is none.
    pub twin_last_seen: u64,
}

/// [`SweepRecord::last_seen`]: remove the flow whatever it does.
pub const SWEEP_ALWAYS: u64 = u64::MAX;

/// Bytes before the first record: a test run wants an Ethernet header.
pub const SWEEP_HEADER: usize = 16;
/// Records in one run: what fits a packet of one page.
pub const SWEEP_BATCH: usize = 56;

/// Text of up to 64 bytes, filled up with zeroes, for dumps that work without the daemon.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Text(pub [u8; 64]);

impl Text {
    /// From text of at most 64 bytes; longer text is cut.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self(bytes)
    }

    /// The text; empty if it is not UTF-8, which the daemon never writes.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(64);
        core::str::from_utf8(self.0.get(..end).unwrap_or_default()).unwrap_or_default()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl core::fmt::Debug for Text {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}
