//! Room for a new flow when the table is full, or when a sandbox has reached its limit.
//!
//! Expired flows are removed. Finished and half-open flows are removed before their idle limit, established ones are not
//! (RFC 6888 REQ-11). The index of all flows is searched from its oldest slot to its newest, a few slots for each new flow;
//! then the search restarts at the oldest.

use netpath_common::{
    flow::FlowKey,
    maps::{Config, Cursor},
};

use super::{
    Entry,
    accounting::SandboxFlows,
    lifetime::{has_expired, remove_flow, state},
};
use crate::{
    context::LocalEnd,
    helpers::{self, Continue, Step, repeat},
    maps::{self, Sequence},
};

/// Slots that are searched for one new flow.
const STEPS: u32 = 16;

/// The slot that no endpoint has; it selects the flows of every sandbox.
const EVERY_SANDBOX: u32 = 0;

/// Whether the sandbox may have one more flow. If its limit is reached, some of its flows are evicted first: expired,
/// finished, and half-open ones.
#[inline(always)]
pub fn admits(config: &Config, reply: &LocalEnd) -> bool {
    // Without a count of this generation, the endpoint was removed: the flow has expired before its first packet.
    let Some(flows) = SandboxFlows::find(reply.slot, reply.generation) else {
        return true;
    };
    if flows.has_room(config) {
        return true;
    }
    reclaim_sandbox(config, reply.slot, flows);
    flows.has_room(config)
}

/// Removes expired, finished and half-open flows of any sandbox.
#[inline(never)]
pub fn reclaim_table(config: &Config) {
    if let Some(next) = Sequence::of(Cursor::Reclaim) {
        search_index(config, next, EVERY_SANDBOX);
    }
}

/// Removes expired flows, and finished and half-open flows that count for the sandbox in a slot.
#[inline(never)]
fn reclaim_sandbox(config: &Config, slot: u32, flows: SandboxFlows) {
    search_index(config, flows.next_search(), slot);
}

/// Searches [`STEPS`] slots of the index from `next` on.
#[inline(always)]
fn search_index(config: &Config, next: Sequence, slot: u32) {
    let Some(newest) = Sequence::of(Cursor::FlowIndex) else {
        return;
    };
    let mask = config.flow_index_mask;
    // Another CPU may advance either number; then the same slots are searched twice.
    let newest = newest.get();
    let used = if newest <= mask {
        newest
    } else {
        mask.wrapping_add(1)
    };
    let distance = newest.wrapping_sub(next.get());
    let start = if distance == 0 || distance > used {
        newest.wrapping_sub(used)
    } else {
        next.get()
    };
    next.set(start.wrapping_add(STEPS));
    let mut search = Search {
        config,
        start,
        slot,
        now: helpers::now(),
        key: FlowKey::default(),
    };
    repeat(STEPS, &mut search);
}

struct Search<'a> {
    config: &'a Config,
    /// Sequence number of the first slot.
    start: u32,
    /// Slot of the endpoint whose flows may be evicted before their idle limit.
    slot: u32,
    /// Coarse monotonic nanoseconds.
    now: u64,
    key: FlowKey,
}

impl Step for Search<'_> {
    #[inline(always)]
    fn step(&mut self, number: u32) -> Continue {
        let slot = self.start.wrapping_add(number) & self.config.flow_index_mask;
        if !maps::copy_index_key(slot, &mut self.key) {
            return Continue::No;
        }
        if has_expired(&self.key, self.now) || is_evictable(&self.key, self.slot) {
            remove_flow(&self.key);
        }
        Continue::Yes
    }
}

/// Whether a flow counts for the sandbox in a slot and is half-open or finished.
#[inline(always)]
fn is_evictable(key: &FlowKey, slot: u32) -> bool {
    let Some(entry) = Entry::find(key) else {
        return false;
    };
    let counts_for = if slot == EVERY_SANDBOX {
        EVERY_SANDBOX
    } else if entry.is_reply() {
        entry.slot().0
    } else {
        match entry.reverse() {
            Some(reply) => reply.slot().0,
            None => EVERY_SANDBOX,
        }
    };
    if counts_for != slot {
        return false;
    }
    let state = state(key, entry);
    state.is_half_open() || state.is_finished()
}
