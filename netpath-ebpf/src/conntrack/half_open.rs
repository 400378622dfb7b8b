//! Two rings of keys: half-open flows in the order of their creation, and the index of all flows.

use netpath_common::{
    flow::FlowKey,
    maps::{Config, SWEEP_TIMEOUT},
};

use super::{
    Entry,
    lifetime::{has_expired, remove_flow, state},
};
use crate::{
    helpers::{Continue, Step, repeat},
    maps,
};

/// The most slots of the index that one new flow examines. If nine tenths of the slots have live flows, one new flow in a
/// thousand finds only live ones.
const INDEX_STEPS: u32 = 64;

/// Enters the key of a new flow in both rings.
///
/// In the ring of half-open flows, the key replaces that of the flow that was created one round earlier. If that flow is
/// still half-open, it is evicted. [`enter_index`] describes the other ring.
#[inline(always)]
pub(super) fn enter(key: &FlowKey, config: &Config, now: u64, evicted: &mut FlowKey) {
    // The slot may contain the key of an earlier flow with the same tuple.
    if maps::replace_half_open_key(config.half_open_mask, key, evicted)
        && evicted != key
        && let Some(entry) = Entry::find(evicted)
        && state(evicted, entry).is_half_open()
    {
        remove_flow(evicted);
    }
    enter_index(key, config, now);
}

/// Enters a key in the index of all flows.
///
/// While no daemon sweeps the table, the flow whose key is in the slot is removed if it has expired; otherwise its key moves
/// to the next slot, whose key is examined in the same way. So the index keeps the keys of live flows, and flows that expire
/// later are found: the table remains usable without a daemon. The index has one slot for each flow of the table.
/// While the daemon sweeps, the search is omitted, because it would only cause cache misses.
#[inline(always)]
fn enter_index(key: &FlowKey, config: &Config, now: u64) {
    if now.saturating_sub(config.swept) < SWEEP_TIMEOUT {
        maps::store_index_key(config.flow_index_mask, key);
        return;
    }
    let mut displacement = Displacement {
        mask: config.flow_index_mask,
        key: FlowKey::default(),
        displaced: FlowKey::default(),
        now,
    };
    displacement.key.copy_from(key);
    repeat(INDEX_STEPS, &mut displacement);
}

struct Displacement {
    /// [`Config::flow_index_mask`].
    mask: u32,
    /// The key to store.
    key: FlowKey,
    displaced: FlowKey,
    /// Coarse monotonic nanoseconds.
    now: u64,
}

impl Step for Displacement {
    /// Stores the key in the next slot, and continues with the key that was there unless its flow has expired.
    #[inline(always)]
    fn step(&mut self, _number: u32) -> Continue {
        if !maps::replace_index_key(self.mask, &self.key, &mut self.displaced) {
            return Continue::No;
        }
        if has_expired(&self.displaced, self.now) {
            remove_flow(&self.displaced);
            return Continue::No;
        }
        self.key.copy_from(&self.displaced);
        Continue::Yes
    }
}
