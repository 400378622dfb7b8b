//! Two rings of keys: half-open flows in the order of their creation, and the index of all flows.

use netpath_common::{
    flow::FlowKey,
    maps::{Config, SWEEP_PATIENCE},
};

use super::{
    Entry,
    lifetime::{has_expired, remove_flow, state},
};
use crate::{
    helpers::{Continue, Step, repeat},
    maps,
};

/// Slots of the index that one new flow tries at most. In a table where nine tenths of the flows are alive, one new flow in a
/// thousand finds that many live ones in a row.
const INDEX_STEPS: u32 = 64;

/// Enters the key of a new flow in both rings.
///
/// The slot in the ring of half-open flows belonged to the flow that was created one ring earlier. If that flow is still
/// half-open, it is evicted. [`enter_index`] describes the other ring.
#[inline(always)]
pub(super) fn enter(key: &FlowKey, config: &Config, now: u64, evicted: &mut FlowKey) {
    // The key of a flow that was created again may be found there.
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
/// While no daemon sweeps the table, the flow that had the slot is removed if it has expired; otherwise its key moves to the
/// next slot, and so on. So expired flows are found in the index however old they are, and the table remains usable for a
/// day without a daemon. The index has a slot for each flow, so an expired one is seldom far.
/// While the daemon sweeps, this search would only cost cache misses.
#[inline(always)]
fn enter_index(key: &FlowKey, config: &Config, now: u64) {
    if now.saturating_sub(config.swept) < SWEEP_PATIENCE {
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
    /// The key that needs a slot.
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
