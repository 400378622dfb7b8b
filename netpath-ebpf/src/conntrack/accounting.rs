//! How many flows a sandbox has, and may have.
//!
//! A flow counts for the endpoint that its reply entry names, from the insertion of that entry to its removal. An endpoint has
//! two counts. The quota limits the first one: TCP flows, and sustained flows of other protocols
//! ([`is_sustained`](netpath_common::flow::is_sustained)). The second one counts all other flows. Their sum is the number of
//! reply entries in the map that name the endpoint.

use netpath_common::{
    flow::{FlowEntry, FlowKey, SUSTAINED_AFTER, UNCOUNTED},
    maps::{Config, Usage},
};

use super::Entry;
use crate::{
    helpers,
    maps::{self, Sequence, USAGE},
    stage::stage,
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
    fn add(self, is_counted: bool, amount: i32) {
        // SAFETY: as in `find`.
        let count = unsafe {
            if is_counted {
                &raw mut (*self.0).flows
            } else {
                &raw mut (*self.0).unsustained
            }
        };
        helpers::add_i32(count, amount);
    }

    /// Whether the sandbox has more flows than its share of the table.
    #[inline(always)]
    pub(super) fn exceeds_share(self, config: &Config) -> bool {
        // SAFETY: as in `find`.
        let (flows, unsustained) = unsafe { ((*self.0).flows, (*self.0).unsustained) };
        i64::from(flows) + i64::from(unsustained) > i64::from(config.fair_share)
    }

    /// Counts a flow that was evicted because the table was full or the quota was reached.
    #[inline(always)]
    pub(super) fn count_eviction(self) {
        // SAFETY: as in `find`.
        helpers::fetch_add_u32(unsafe { &raw mut (*self.0).evicted }, 1);
    }

    /// Whether the sandbox has not reached its quota.
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
        flows.add(entry.bookkeeping != UNCOUNTED, 1);
    }
}

/// Removes `entry`, which has this key. For a reply entry, decrements the flow count.
#[inline(always)]
pub(super) fn remove_entry(key: &FlowKey, entry: Entry) {
    // Read before the removal: after it, another entry may reuse the memory.
    let (is_reply, is_counted) = (entry.is_reply(), entry.is_counted());
    let (slot, generation) = entry.slot();
    if Entry::remove(key)
        && is_reply
        && let Some(flows) = SandboxFlows::find(slot, generation)
    {
        flows.add(is_counted, -1);
    }
}

stage! {
    /// Marks the flow with the key of either entry as sustained if both directions have carried a packet more than
    /// [`SUSTAINED_AFTER`] after its creation, and its sandbox has not reached its quota. Returns whether it is sustained.
    pub(super) fn sustain(key: &FlowKey) -> bool {
        let Some(config) = maps::config() else {
            return false;
        };
        let Some(entry) = Entry::find(key) else {
            return false;
        };
        let Some(reverse) = entry.reverse() else {
            return false;
        };
        if reverse.last_seen().saturating_sub(entry.created()) <= SUSTAINED_AFTER {
            return false;
        }
        let reply = if entry.is_reply() { entry } else { reverse };
        if !reply.is_counted() {
            let (slot, generation) = reply.slot();
            let Some(flows) = SandboxFlows::find(slot, generation) else {
                return false;
            };
            if !flows.has_room(config) {
                return false;
            }
            if reply.set_counted() {
                flows.add(true, 1);
                flows.add(false, -1);
            }
        }
        entry.mark_sustained();
        reverse.mark_sustained();
        true
    }
}
