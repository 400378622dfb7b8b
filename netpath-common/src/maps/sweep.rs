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
        /// The same of the reverse entry; ignored if there is none.
        pub reverse_last_seen: u64,
    }
}

/// [`SweepRecord::last_seen`]: remove the flow whenever it was used.
pub const SWEEP_ALWAYS: u64 = u64::MAX;

/// Bytes before the first record: a test run needs an Ethernet header.
pub const SWEEP_HEADER: usize = 16;
/// Records in one run: as many as fit a packet of one page.
pub const SWEEP_BATCH: usize = 56;
