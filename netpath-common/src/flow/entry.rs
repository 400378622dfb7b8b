//! The entry of one direction of a flow.

use super::{FlowKey, TCP};
use crate::layout::layout;

/// How a flow is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Tracked, not translated: gateway mode `routed`, or a network without masquerading.
    None = 0,
    /// From a sandbox to the outside, with an address of the node as source.
    Snat = 1,
    /// From the outside to a published port.
    Dnat = 2,
    /// From a sandbox to a published port of a sandbox of the same node.
    Hairpin = 3,
}

impl Kind {
    /// The kind with the number `byte`; `None` for a number that no program writes.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Snat),
            2 => Some(Self::Dnat),
            3 => Some(Self::Hairpin),
            _ => None,
        }
    }
}

/// [`FlowEntry::role`]: the direction of the packet that opened the flow.
pub const ORIGINAL: u8 = 0;
/// [`FlowEntry::role`]: the reverse direction.
pub const REPLY: u8 = 1;

/// [`FlowEntry::seen`]: a packet of this direction was seen.
pub const SEEN_ANY: u8 = 1 << 0;
/// [`FlowEntry::seen`]: TCP SYN.
pub const SEEN_SYN: u8 = 1 << 1;
/// [`FlowEntry::seen`]: a TCP segment with ACK and without SYN and RST, which proves that the handshake continued.
pub const SEEN_ACK: u8 = 1 << 2;
/// [`FlowEntry::seen`]: TCP FIN.
pub const SEEN_FIN: u8 = 1 << 3;
/// [`FlowEntry::seen`]: TCP RST since the last other segment of this direction.
pub const SEEN_RST: u8 = 1 << 4;
/// [`FlowEntry::seen`]: the flow is sustained, see [`is_sustained`]. Set in both entries, not for TCP.
pub const SEEN_SUSTAINED: u8 = 1 << 5;

/// Whether a flow is sustained: it counts against the quota of its sandbox, and is not evicted while it is established. A
/// TCP flow always is. Any other flow is sustained once both directions have carried a packet more than
/// [`SUSTAINED_AFTER`](super::SUSTAINED_AFTER) after its creation. `reply` is [`FlowEntry::seen`] of the reply entry.
#[inline(always)]
pub const fn is_sustained(protocol: u8, reply: u8) -> bool {
    protocol == TCP || reply & SEEN_SUSTAINED != 0
}

/// [`FlowEntry::bookkeeping`] of an original entry whose key is not in `flow_index`.
pub const UNTRACKED: u32 = u32::MAX;
/// [`FlowEntry::bookkeeping`] of a reply entry whose flow does not count against the quota.
pub const UNCOUNTED: u32 = 0;
/// [`FlowEntry::bookkeeping`] of a reply entry whose flow counts against the quota; a higher number has the same meaning.
pub const COUNTED: u32 = 1;

/// [`FlowEntry::flags`]: translated packets are delivered to the sandbox of [`FlowEntry::endpoint`]. If it is not set,
/// they leave the node.
pub const DELIVER: u8 = 1 << 0;
/// [`FlowEntry::flags`]: the source address or port changes.
pub const REWRITE_SRC: u8 = 1 << 1;
/// [`FlowEntry::flags`]: the destination address or port changes.
pub const REWRITE_DST: u8 = 1 << 2;
/// [`FlowEntry::flags`]: both ends are sandboxes of this node, so no packet of the flow passes an uplink.
pub const BOTH_LOCAL: u8 = 1 << 3;

layout! {
    /// One direction of a flow. Written by the programs, read by the daemon.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct FlowEntry(96) {
        /// The tuple after translation. Does not change.
        pub to: FlowKey,
        /// Coarse monotonic nanoseconds of the last packet of this direction, or of the creation if there was no
        /// packet.
        pub last_seen: u64,
        /// Coarse monotonic nanoseconds of the creation; the same in both entries of a flow. Does not change.
        pub created: u64,
        /// Packets; a GSO packet counts as its segments.
        pub packets: u64,
        /// Bytes, counted from the network header.
        pub bytes: u64,
        /// Slot of the local endpoint of this direction. Does not change.
        pub endpoint: u32,
        /// Generation of that slot; the flow has expired if the slot has another generation. Does not change.
        pub generation: u32,
        /// A [`Kind`]. Does not change.
        pub kind: u8,
        /// [`ORIGINAL`] or [`REPLY`]. Does not change.
        pub role: u8,
        /// Which packets of this direction were seen: `SEEN_*`.
        pub seen: u8,
        /// [`DELIVER`], [`BOTH_LOCAL`], `REWRITE_*`. Does not change.
        pub flags: u8,
        /// Key in `next_hops` of the next hop of packets that leave the node; 0 before the first route lookup.
        pub next_hop: u16,
        /// Largest network-layer packet, in bytes, that the route of [`FlowEntry::next_hop`] permits according to that lookup.
        pub mtu: u16,
        /// Time of the lookup, in units of [`DECISION_TICK`](crate::maps::DECISION_TICK).
        pub decided: u32,
        /// Original entry: the slot of `flow_index` that contains its key, or [`UNTRACKED`]. Reply entry:
        /// [`UNCOUNTED`] or [`COUNTED`].
        pub bookkeeping: u32,
    }
}
