//! Two rings of keys: which half-open flow gives way, and which flows may be over.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
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
    enter_index(key, config, now);
}

/// Places of the index that one new flow looks at, at most. In a table that is full to nine tenths of living flows, one
/// new flow in a thousand finds that many living ones in a row.
const INDEX_STEPS: u32 = 64;

/// Gives a key its place in the index of all flows.
///
/// While nobody sweeps the table, the flow that had the place is removed if it is over; otherwise it gets the next place,
/// and so on. This keeps the table usable: flows of a day without a daemon are found again here, whatever their age. The
/// index has a place for each flow, so one that is over is hardly ever far.
/// While the daemon sweeps, looking at old flows here would only cost cache misses.
#[inline(always)]
fn enter_index(key: &FlowKey, config: &Config, now: u64) {
    if now.saturating_sub(config.swept) < SWEEP_PATIENCE {
        if let Some(place) = maps::ring_place(Cursor::FlowIndex, config.flow_index_mask) {
            // SAFETY: as above.
            set(unsafe { &mut *place }, key);
        }
        return;
    }
    let mut entry = Entry {
        key: FlowKey::default(),
        old: FlowKey::default(),
        now,
    };
    set(&mut entry.key, key);
    // SAFETY: the callback gets this `entry` and nothing keeps it (Linux 5.17).
    unsafe {
        bpf_loop(
            INDEX_STEPS,
            displace as *mut c_void,
            (&raw mut entry).cast(),
            0,
        );
    }
}

struct Entry {
    /// The key that looks for a place.
    key: FlowKey,
    old: FlowKey,
    now: u64,
}

/// Takes the next place; goes on with the key that had it. A callback, so that the verifier follows it once.
unsafe extern "C" fn displace(_number: u32, entry: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` passes on what `enter_index` gave it.
    let entry = unsafe { &mut *entry.cast::<Entry>() };
    let Some(config) = maps::config() else {
        return 1;
    };
    let Some(place) = maps::ring_place(Cursor::FlowIndex, config.flow_index_mask) else {
        return 1;
    };
    // SAFETY: as in `enter`.
    replace(unsafe { &mut *place }, &entry.key, &mut entry.old);
    if is_over(&entry.old, config, entry.now) {
        remove(&entry.old);
        return 1;
    }
    set(&mut entry.key, &entry.old);
    0
}

#[inline(always)]
fn replace(place: &mut FlowKey, new: &FlowKey, old: &mut FlowKey) {
    set(old, place);
    set(place, new);
}
