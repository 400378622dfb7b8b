//! Fragments of datagrams that are translated; see `path::fragment` of the programs.

use crate::{addr::Addr, flow::FlowKey};

/// What all fragments of a datagram share.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address, before translation.
    pub src: Addr,
    /// Destination address, before translation.
    pub dst: Addr,
    /// Identification, in host byte order.
    pub id: u32,
    /// Transport protocol; 0 in IPv6, where it is not part of what identifies a datagram (RFC 8200 §4.5).
    pub protocol: u8,
    /// Where they pass: 0 from an uplink, 1 to one, 2 from a sandbox to an address of the node. What is forged elsewhere
    /// belongs to another datagram.
    pub side: u8,
    /// Zero.
    pub pad2: u16,
}

/// A datagram whose first fragment was seen.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Fragmented {
    /// The tuple after translation.
    pub to: FlowKey,
    /// Coarse monotonic nanoseconds of the first fragment.
    pub last_seen: u64,
    /// Bytes of the datagram that were seen.
    pub bytes: u32,
    /// Bytes of the whole datagram; 0 until its last fragment was seen.
    pub total: u32,
    /// Identification after translation, in host byte order.
    pub id: u32,
    /// As [`crate::flow::Half::endpoint`]; 0 if the datagram is not translated.
    pub endpoint: u32,
    /// As [`crate::flow::Half::generation`].
    pub generation: u32,
    /// As [`crate::flow::Half::flags`].
    pub flags: u8,
    /// Zero.
    pub pad: u8,
    /// Zero.
    pub pad2: u16,
}

/// Fragments of one datagram that are held before its first one comes: what 64 KiB make on a link of 1,400 bytes.
pub const ORPHAN_PLACES: usize = 48;

/// A datagram of which later fragments are held.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Orphan {
    /// Coarse monotonic nanoseconds of the fragment that came first.
    pub first_seen: u64,
    /// How many were held.
    pub count: u32,
    /// Zero.
    pub pad: u32,
    /// [`Held::turn`] of each.
    pub turns: [u32; ORPHAN_PLACES],
}

/// Largest frame that is held, in bytes: a jumbo frame.
pub const HELD_BYTES: usize = 9_216 + 16;

/// A fragment that is held.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Held {
    /// Its datagram.
    pub key: FragmentKey,
    /// Coarse monotonic nanoseconds since when.
    pub held: u64,
    /// Which turn of the ring it was; a place is taken again after [`super::MAX_HELD`] turns.
    pub turn: u32,
    /// Bytes of the frame.
    pub length: u32,
    /// The frame, from its Ethernet header on.
    pub bytes: [u8; HELD_BYTES],
}
