//! Room for a new flow where the table is full, or a sandbox has as many flows as it may.
//!
//! Flows that are over go, and those that are finished, or were never answered, without waiting for their time.
//! Established ones stay (RFC 6888 REQ-11). The index of all flows is gone through from its older end on, a few places for
//! each new flow, and again when the newest flow is reached.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use netpath_common::{
    flow::{FlowKey, REPLY, State},
    maps::{Cursor, Usage},
};

use super::{is_over, keys::set, now, remove, state};
use crate::maps;

/// Places that a new flow looks at.
const STEPS: u32 = 16;

/// In a table that is full, whosever flows they are.
#[inline(never)]
pub fn of_table() {
    let Some(config) = maps::config() else {
        return;
    };
    if let Some(next) = maps::cursor(Cursor::Reclaim) {
        look(next, config.flow_index_mask, ANYBODY);
    }
}

/// Of what the sandbox in a slot is charged with: what others have must not go because this one has too much.
///
/// Each sandbox goes on where it stopped.
#[inline(never)]
pub fn of_sandbox(slot: u32, usage: *mut Usage) {
    let Some(config) = maps::config() else {
        return;
    };
    // SAFETY: a map value, alive while the program runs.
    let next = unsafe { &raw mut (*usage).reclaimed };
    look(next, config.flow_index_mask, slot);
}

/// No slot of an endpoint.
const ANYBODY: u32 = 0;

struct Search {
    /// Count of the first place, as a cursor gives it.
    start: u32,
    /// Whose flows may go before their time.
    slot: u32,
    now: u64,
    key: FlowKey,
}

/// Looks at the places from `next` on.
#[inline(always)]
fn look(next: *mut u32, mask: u32, slot: u32) {
    let Some(newest) = maps::cursor(Cursor::FlowIndex) else {
        return;
    };
    // SAFETY: map values, alive while the program runs; another CPU may move either, which costs at most a second look
    // at the same places.
    let start = unsafe {
        let newest = *newest;
        let used = if newest <= mask {
            newest
        } else {
            mask.wrapping_add(1)
        };
        let behind = newest.wrapping_sub(*next);
        let start = if behind == 0 || behind > used {
            newest.wrapping_sub(used)
        } else {
            *next
        };
        *next = start.wrapping_add(STEPS);
        start
    };
    let mut search = Search {
        start,
        slot,
        now: now(),
        key: FlowKey::default(),
    };
    // SAFETY: the callback gets this `search` and nothing keeps it (Linux 5.17).
    unsafe {
        bpf_loop(STEPS, one as *mut c_void, (&raw mut search).cast(), 0);
    }
}

/// Looks at one place. A callback, so that the verifier follows it once.
unsafe extern "C" fn one(number: u32, search: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` passes on what `look` gave it.
    let search = unsafe { &mut *search.cast::<Search>() };
    let Some(config) = maps::config() else {
        return 1;
    };
    let place = search.start.wrapping_add(number) & config.flow_index_mask;
    let Some(place) = maps::index_place(place) else {
        return 1;
    };
    // SAFETY: a map value; a key torn by another CPU that writes it names no flow.
    set(&mut search.key, unsafe { &*place });
    if is_over(&search.key, config, search.now) || is_expendable(&search.key, search.slot) {
        remove(&search.key);
    }
    0
}

#[inline(always)]
fn is_expendable(key: &FlowKey, slot: u32) -> bool {
    let Some(half) = maps::flow(key) else {
        return false;
    };
    // SAFETY: map values, readable while the program runs.
    let charged = unsafe {
        if slot == ANYBODY {
            ANYBODY
        } else if (*half).role == REPLY {
            (*half).endpoint
        } else {
            match maps::flow(&(*half).to.reversed()) {
                Some(reply) => (*reply).endpoint,
                None => ANYBODY,
            }
        }
    };
    if charged != slot {
        return false;
    }
    let state = state(key, half);
    state.is_half_open() || state.is_finished()
}
