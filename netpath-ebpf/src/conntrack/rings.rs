//! Two rings of keys: which half-open flow gives way, and which flows may be over.

use netpath_common::{
    flow::FlowKey,
    maps::{Config, Cursor, SWEEP_PATIENCE},
};

use super::{is_over, keys::set, remove, state};
use crate::maps;

/// Gives a new flow its place in both rings.
///
/// The place in the half-open ring is taken from the flow that was created a whole ring ago: if that one never became
/// established, it goes. See [`enter_index`] for the other ring.
#[inline(always)]
pub fn enter(key: &FlowKey, config: &Config, now: u64, old: &mut FlowKey) {
    if let Some(place) = maps::ring_place(Cursor::HalfOpen, config.half_open_mask) {
        // SAFETY: a map value; the cursor gives a place to one CPU at a time, and a key torn by a whole turn of the
        // ring within this call names no flow.
        replace(unsafe { &mut *place }, key, old);
        // A flow that began anew may find its own key there.
        if old != key
            && let Some(half) = maps::flow(old)
            && state(old, half).is_half_open()
        {
            remove(old);
        }
    }
    enter_index(key, config, now, old);
}

/// Places of the index that one new flow looks at.
const INDEX_STEPS: u32 = 4;

/// Gives a key its place in the index of all flows.
///
/// While nobody sweeps the table, the flow that had the place is removed if it is over; otherwise it gets the next place,
/// and so on. This keeps the table usable: flows of a day without a daemon are found again here, whatever their age. The
/// index has two places for each flow, so the last key that is left without one is hardly ever that of a living flow.
/// While the daemon sweeps, looking at old flows here would only cost cache misses.
#[inline(always)]
fn enter_index(key: &FlowKey, config: &Config, now: u64, old: &mut FlowKey) {
    if now.saturating_sub(config.swept) < SWEEP_PATIENCE {
        if let Some(place) = maps::ring_place(Cursor::FlowIndex, config.flow_index_mask) {
            // SAFETY: as above.
            set(unsafe { &mut *place }, key);
        }
        return;
    }
    let mut displaced = FlowKey::default();
    set(&mut displaced, key);
    for _ in 0..INDEX_STEPS {
        let Some(place) = maps::ring_place(Cursor::FlowIndex, config.flow_index_mask) else {
            return;
        };
        // SAFETY: as above.
        replace(unsafe { &mut *place }, &displaced, old);
        if is_over(old, config, now) {
            remove(old);
            return;
        }
        set(&mut displaced, old);
    }
}

#[inline(always)]
fn replace(place: &mut FlowKey, new: &FlowKey, old: &mut FlowKey) {
    set(old, place);
    set(place, new);
}
