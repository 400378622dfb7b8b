//! How many flows a sandbox has, and may have.
//!
//! Charged is the endpoint that the reply half names, when that half is inserted, and released when it is deleted,
//! whoever does it: the number is that of the reply halves in the table.

use netpath_common::{
    flow::{FlowKey, Half, REPLY},
    maps::{Config, Usage},
};

use super::{Inner, reclaim};
use crate::{atomic, maps};

/// Counts a reply half that has been inserted.
#[inline(always)]
pub fn charge(half: &Half) {
    if let Some(usage) = maps::usage(half.endpoint, half.generation) {
        // SAFETY: a map value, alive while the program runs.
        atomic::add_i32(unsafe { &raw mut (*usage).flows }, 1);
    }
}

/// Removes a half, and counts it out if it is a reply half.
///
/// # Safety
/// `half` is the map's value under `key`.
#[inline(always)]
pub unsafe fn remove_half(key: &FlowKey, half: *const Half) {
    // SAFETY: by contract; read before the deletion, which makes it another half's memory.
    let (role, endpoint, generation) =
        unsafe { ((*half).role, (*half).endpoint, (*half).generation) };
    // Of several CPUs that remove a half, the map lets one succeed.
    if maps::remove_flow(key)
        && role == REPLY
        && let Some(usage) = maps::usage(endpoint, generation)
    {
        // SAFETY: as in `charge`.
        atomic::add_i32(unsafe { &raw mut (*usage).flows }, -1);
    }
}

/// Whether the sandbox may have one more flow; if it has as many as it may, some of its own that nobody would miss go
/// first.
#[inline(always)]
pub fn admits(reply: &Inner) -> bool {
    let Some(config) = maps::config() else {
        return false;
    };
    // None happens between two endpoints in the slot; then the flow is over before it begins.
    let Some(usage) = maps::usage(reply.endpoint, reply.generation) else {
        return true;
    };
    if has_room(usage, config) {
        return true;
    }
    reclaim::of_sandbox(reply.endpoint, usage);
    has_room(usage, config)
}

#[inline(always)]
fn has_room(usage: *const Usage, config: &Config) -> bool {
    // SAFETY: a map value, readable while the program runs.
    i64::from(unsafe { (*usage).flows }) < i64::from(config.flows_per_sandbox)
}
