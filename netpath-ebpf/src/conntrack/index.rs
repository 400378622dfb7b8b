//! The index of all flows: a ring of keys, with one slot for each flow of the table.
//!
//! The index serves to find flows in the order of their creation: expired flows while no daemon runs, and flows that can be
//! evicted when the table is full. A new flow takes the next slot that is free. A slot is free if its flow was removed, has
//! expired, or, while a daemon sweeps the table, is sustained: such a flow is not evicted, and the daemon finds it without
//! the index. So a flow keeps its slot as long as it may be evicted.

use netpath_common::{
    flow::{FlowKey, is_sustained},
    maps::{Config, SWEEP_TIMEOUT},
};

use super::{
    Entry,
    lifetime::{has_expired, remove_flow, state},
};
use crate::{
    helpers::{Continue, Step, repeat},
    maps,
    stage::stage,
};

/// The most slots that one new flow examines; it takes the last one even if that is not free. If nine tenths of the slots are
/// not free, this happens to one new flow in a thousand.
const STEPS: u32 = 64;

/// Enters a key in the next free slot; returns the slot. `other` is overwritten.
#[inline(always)]
pub(super) fn enter(config: &Config, key: &FlowKey, other: &mut FlowKey, now: u64) -> u32 {
    let mut search = Search {
        mask: config.flow_index_mask,
        slot: 0,
        now,
        key: other,
    };
    repeat(STEPS, &mut search);
    maps::store_index_key(search.slot, key);
    search.slot
}

struct Search<'a> {
    /// [`Config::flow_index_mask`].
    mask: u32,
    /// The slot that was examined last.
    slot: u32,
    /// Coarse monotonic nanoseconds.
    now: u64,
    key: &'a mut FlowKey,
}

impl Step for Search<'_> {
    #[inline(always)]
    fn step(&mut self, _number: u32) -> Continue {
        self.slot = maps::next_index_slot(self.mask);
        let is_free = !maps::copy_index_key(self.slot, self.key)
            || self.key.protocol == 0
            // That stage does not remove the flow: on Linux 6.1 the stack frames of the nested calls would exceed the limit.
            || is_index_slot_free(self.key, self.slot, self.now).unwrap_or_else(|| remove_flow(self.key));
        if is_free { Continue::No } else { Continue::Yes }
    }
}

stage! {
    /// Whether a slot of the index with this key is free. `None` if its flow has expired.
    fn is_index_slot_free(key: &FlowKey, slot: u32, now: u64) -> Option<bool> {
        let Some(config) = maps::config() else {
            return Some(true);
        };
        let Some(entry) = Entry::find(key) else {
            return Some(true);
        };
        if !entry.is_original() || entry.index_slot() != slot {
            return Some(true);
        }
        if has_expired(key, now) {
            return None;
        }
        if now.saturating_sub(config.swept) >= SWEEP_TIMEOUT {
            return Some(false);
        }
        let reply = match entry.reverse() {
            Some(reply) => reply.seen(),
            None => return Some(false),
        };
        Some(is_sustained(key.protocol, reply) && !state(key, entry).is_half_open())
    }
}
