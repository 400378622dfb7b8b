//! The records that the daemon passes to the program `sweep`.

use crate::{flow::FlowKey, layout::layout};

layout! {
    /// A flow that the daemon found idle.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct SweepRecord(56) {
        /// Key of one of its entries.
        pub key: FlowKey,
        /// [`crate::flow::FlowEntry::last_seen`] of that entry, or [`SWEEP_ALWAYS`].
        pub last_seen: u64,
        /// [`crate::flow::FlowEntry::last_seen`] of the reverse entry; ignored if there is no reverse entry.
        pub reverse_last_seen: u64,
    }
}

/// [`SweepRecord::last_seen`]: the flow is removed, regardless of its last packet.
pub const SWEEP_ALWAYS: u64 = u64::MAX;

/// Offset of the first record in bytes: the packet of a test run starts with an Ethernet header.
pub const SWEEP_HEADER: usize = 16;
/// Largest number of records in one run: the packet fits in one page.
pub const SWEEP_BATCH: usize = 56;
