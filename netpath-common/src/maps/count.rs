//! Packet counters, and the number of flows of each sandbox.

use crate::layout::layout;

layout! {
    /// Packets and bytes of one reason on one CPU. Written by the programs.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct Count(16) {
        /// Packets; a GSO packet counts once.
        pub packets: u64,
        /// Bytes, counted from the link header.
        pub bytes: u64,
    }
}

layout! {
    /// Flows of a sandbox, by the slot of its endpoint. Written by the programs; reset by the daemon.
    ///
    /// Each reply entry in `flows` counts for the endpoint that it names: the endpoint of the sandbox that opened the
    /// flow, or, for a flow from outside, the endpoint whose port is published.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct Usage(48) {
        /// Number of flows that count against the quota. Signed: below zero, an unsigned number would wrap around and block
        /// the sandbox.
        pub flows: i32,
        /// Generation of the slot that is counted; flows of other generations are not counted.
        pub generation: u32,
        /// Sequence number of the next slot of `flow_index` to search for flows of this sandbox that can be evicted.
        pub reclaimed: u32,
        /// Number of flows that do not count against the quota. Signed, as `flows`.
        pub unsustained: i32,
        /// Sequence number of the next element of the ring of half-open flows, by direction: outbound, inbound.
        pub half_open_next: [u32; 2],
        /// Share of half-open flows among the elements of the ring that were examined last, in 1/65,536, by direction.
        pub half_open_share: [u32; 2],
        /// Half-open flows that were evicted for a new one of the same direction, by direction.
        pub evicted_half_open: [u32; 2],
        /// Flows that were evicted because the table was full or the quota was reached.
        pub evicted: u32,
        /// Padding, always zero.
        pub pad: u32,
    }
}

/// Direction of a flow in [`Usage`]: opened by the sandbox.
pub const OUTBOUND: u32 = 0;
/// Direction of a flow in [`Usage`]: opened from outside.
pub const INBOUND: u32 = 1;

/// Number of elements in a [`HalfOpenBlock`]; a power of two.
pub const HALF_OPEN_BLOCK: u32 = 16;

layout! {
    /// Elements of rings of half-open flows. Written by the programs. Elements of four bytes would take eight in an array.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct HalfOpenBlock(64) {
        /// Slot of `flow_index` that contains the key of the flow, plus one; 0 if the element is empty.
        pub elements: [u32; HALF_OPEN_BLOCK as usize],
    }
}

/// Index into `cursors`: the sequence number of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cursor {
    /// Next slot of `flow_index`.
    FlowIndex = 0,
    /// Next slot of `flow_index` that is searched when the table is full.
    Reclaim = 1,
    /// Next slot of `buffered`.
    Buffered = 2,
    /// Counter of the identifications of fragmented datagrams.
    FragmentId = 3,
}

/// Number of entries of `cursors`.
pub const CURSORS: u32 = 4;
