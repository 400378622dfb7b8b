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
    pub struct Usage(16) {
        /// Number of flows. Signed, so that a number that is too low by one does not wrap around and block a sandbox.
        pub flows: i32,
        /// Generation of the slot that is counted; flows of other generations are not counted.
        pub generation: u32,
        /// Sequence number of the next slot of `flow_index` to search for flows of this sandbox that can be evicted.
        pub reclaimed: u32,
        /// Padding, always zero.
        pub pad: u32,
    }
}

/// Index into `cursors`: the sequence number of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cursor {
    /// Next slot of `half_open`.
    HalfOpen = 0,
    /// Next slot of `flow_index`.
    FlowIndex = 1,
    /// Next slot of `flow_index` that is searched when the table is full.
    Reclaim = 2,
    /// Next slot of `buffered`.
    Buffered = 3,
    /// Counter of the identifications of fragmented datagrams.
    FragmentId = 4,
}

/// Number of entries of `cursors`.
pub const CURSORS: u32 = 5;
