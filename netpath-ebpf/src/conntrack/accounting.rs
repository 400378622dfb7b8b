//! How many flows a sandbox has, and may have.
//!
//! A flow counts for the endpoint that its reply entry names, from the insertion of that entry to its removal. So the count
//! equals the number of reply entries in the map that name the endpoint.

use netpath_common::{
    flow::{FlowEntry, FlowKey},
    maps::{Config, Usage},
};

use super::Entry;
use crate::{
    helpers,
    maps::{Sequence, USAGE},
};

/// The flow count of the sandbox in a slot.
#[derive(Clone, Copy)]
pub(super) struct SandboxFlows(*mut Usage);

impl SandboxFlows {
    /// The flow count of the sandbox in a slot; `None` if it is the count of another generation.
    #[inline(always)]
    pub(super) fn find(slot: u32, generation: u32) -> Option<Self> {
        let usage = USAGE.get_ptr_mut(slot)?;
        // SAFETY: a map value, readable while the program runs.
        (unsafe { (*usage).generation } == generation).then_some(Self(usage))
    }

    #[inline(always)]
    fn add(self, amount: i32) {
        // SAFETY: as in `find`.
        helpers::add_i32(unsafe { &raw mut (*self.0).flows }, amount);
    }

    /// Whether the sandbox has fewer flows than its limit.
    #[inline(always)]
    pub(super) fn has_room(self, config: &Config) -> bool {
        // SAFETY: as in `find`.
        i64::from(unsafe { (*self.0).flows }) < i64::from(config.flows_per_sandbox)
    }

    /// Sequence number in the index of all flows at which the search for flows to evict continues.
    #[inline(always)]
    pub(super) fn next_search(self) -> Sequence {
        // SAFETY: as in `find`.
        Sequence::in_value(unsafe { &raw mut (*self.0).reclaimed })
    }
}

/// Increments the flow count for a reply entry that was inserted.
#[inline(always)]
pub(super) fn add_reply(entry: &FlowEntry) {
    if let Some(flows) = SandboxFlows::find(entry.endpoint, entry.generation) {
        flows.add(1);
    }
}

/// Removes `entry`, which has this key. For a reply entry, decrements the flow count.
#[inline(always)]
pub(super) fn remove_entry(key: &FlowKey, entry: Entry) {
    // Read before the removal: after it, another entry may reuse the memory.
    let (is_reply, (slot, generation)) = (entry.is_reply(), entry.slot());
    if Entry::remove(key)
        && is_reply
        && let Some(flows) = SandboxFlows::find(slot, generation)
    {
        flows.add(-1);
    }
}
