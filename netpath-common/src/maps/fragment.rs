//! Fragments of translated datagrams; the module `fragment` of the programs describes their use.

use crate::{addr::Addr, flow::FlowKey, layout::layout};

/// [`KnownDatagram::flags`]: the datagram belongs to the reply direction of its flow.
pub const OF_REPLY: u8 = 1 << 7;

layout! {
    /// Key of a datagram: the header fields that all its fragments share.
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
        /// Number of the [`crate::hook::Hook`] at which the fragments arrive. Forged fragments at another hook belong
        /// to another datagram.
        pub hook: u8,
        /// Padding, always zero.
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
        /// As [`crate::flow::FlowEntry::flags`], and [`OF_REPLY`].
        pub flags: u8,
        /// Padding, always zero.
        pub pad: u8,
        /// Padding, always zero.
        pub pad2: u16,
    }
}

/// Largest number of buffered fragments of one datagram: 64 KiB over a link with an MTU of 1,400 bytes.
pub const PENDING_SLOTS: usize = 48;

layout! {
    /// A datagram whose first fragment has not arrived, and its buffered fragments. Written by the programs.
    #[derive(Clone, Copy, Debug)]
    pub struct PendingDatagram(208) {
        /// Coarse monotonic nanoseconds of the fragment that arrived first.
        pub first_seen: u64,
        /// Number of buffered fragments.
        pub count: u32,
        /// Padding, always zero.
        pub pad: u32,
        /// [`BufferedFragment::sequence`] of each of them.
        pub sequences: [u32; PENDING_SLOTS],
    }
}

/// Largest frame that is buffered, in bytes: a jumbo frame.
pub const BUFFER_BYTES: usize = 9_216 + 16;

layout! {
    /// A buffered fragment. Written by the programs.
    #[derive(Clone, Copy, Debug)]
    pub struct BufferedFragment(9_288) {
        /// Key of its datagram.
        pub key: FragmentKey,
        /// Coarse monotonic nanoseconds of its arrival.
        pub arrived: u64,
        /// Sequence number in the ring. The slot is reused after [`super::MAX_BUFFERED`] further fragments.
        pub sequence: u32,
        /// Length of the frame in bytes.
        pub length: u32,
        /// The frame, from its link header.
        pub bytes: [u8; BUFFER_BYTES],
    }
}
