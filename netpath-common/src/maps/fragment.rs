//! Fragments of translated datagrams; the module `fragment` of the programs describes their use.

use crate::{addr::Addr, flow::FlowKey, layout::layout};

layout! {
    /// What all fragments of a datagram have in common.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct FragmentKey(40) {
        /// Source address before translation.
        pub src: Addr,
        /// Destination address before translation.
        pub dst: Addr,
        /// Identification in host byte order.
        pub id: u32,
        /// Transport protocol; 0 for IPv6, where it does not identify a datagram (RFC 8200 §4.5).
        pub protocol: u8,
        /// The [`crate::hook::Hook`] that they pass. Forged fragments at another hook belong to another datagram.
        pub hook: u8,
        /// Zero.
        pub pad2: u16,
    }
}

layout! {
    /// A datagram whose first fragment was seen. Written by the programs.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct KnownDatagram(72) {
        /// The tuple after translation.
        pub to: FlowKey,
        /// Coarse monotonic nanoseconds of the first fragment.
        pub last_seen: u64,
        /// Bytes of the datagram that were seen.
        pub bytes: u32,
        /// Bytes of the whole datagram; 0 until the last fragment was seen.
        pub total: u32,
        /// Identification after translation, in host byte order.
        pub id: u32,
        /// As [`crate::flow::FlowEntry::endpoint`]; 0 if the datagram is not translated.
        pub endpoint: u32,
        /// As [`crate::flow::FlowEntry::generation`].
        pub generation: u32,
        /// As [`crate::flow::FlowEntry::flags`].
        pub flags: u8,
        /// Zero.
        pub pad: u8,
        /// Zero.
        pub pad2: u16,
    }
}

/// Fragments of one datagram that are buffered before its first one arrives: 64 KiB over a link of 1,400 bytes.
pub const PENDING_SLOTS: usize = 48;

layout! {
    /// A datagram whose first fragment has not arrived, with the fragments of it that are buffered. Written by the programs.
    #[derive(Clone, Copy, Debug)]
    pub struct PendingDatagram(208) {
        /// Coarse monotonic nanoseconds of the fragment that arrived first.
        pub first_seen: u64,
        /// Buffered fragments.
        pub count: u32,
        /// Zero.
        pub pad: u32,
        /// [`BufferedFragment::sequence`] of each.
        pub sequences: [u32; PENDING_SLOTS],
    }
}

/// Largest frame that is buffered, in bytes: a jumbo frame.
pub const BUFFER_BYTES: usize = 9_216 + 16;

layout! {
    /// A buffered fragment. Written by the programs.
    #[derive(Clone, Copy, Debug)]
    pub struct BufferedFragment(9_288) {
        /// Its datagram.
        pub key: FragmentKey,
        /// Coarse monotonic nanoseconds of its arrival.
        pub arrived: u64,
        /// Sequence number of the ring at its arrival; the slot is used again after [`super::MAX_BUFFERED`] more.
        pub sequence: u32,
        /// Bytes of the frame.
        pub length: u32,
        /// The frame, from its link header.
        pub bytes: [u8; BUFFER_BYTES],
    }
}
