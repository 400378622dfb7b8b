//! Room for a new flow when the table is full, or when a sandbox has reached its quota.
//!
//! Expired flows are removed. Flows that are finished, half-open or not sustained are removed before their idle limit;
//! sustained ones are not (RFC 6888 REQ-11). The index of all flows is searched from its oldest slot to its newest, a few slots
//! for each new flow; then the search restarts at the oldest.
//!
//! When the table is full, endpoints with more flows than their share lose flows. Other endpoints lose flows only for an
//! endpoint that does not exceed its share itself.

use netpath_common::{
    flow::{FlowKey, TCP, is_sustained},
    maps::{Config, Cursor},
    reason::Reason,
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
    stage::{enum_argument, stage},
};

/// Slots that are searched for one new flow.
const STEPS: u32 = 32;
/// Slots that are searched for flows of endpoints that exceed their share: flows of others may be between them.
const STEPS_LARGE: u32 = 128;

/// Which flows may be evicted before their idle limit.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Scope {
    /// Those that count against the quota of the new flow's endpoint.
    Quota,
    /// Those of endpoints that exceed their share.
    Large,
    /// Those of every endpoint.
    All,
}

enum_argument!(Scope: Quota, Large; All);

/// Whether the sandbox may have one more flow of this protocol. If its quota is reached, some of its flows are evicted first:
/// expired, finished, and half-open ones. Only TCP flows count from their creation on. `other` is
/// overwritten.
#[inline(always)]
pub fn admits(config: &Config, protocol: u8, reply: &LocalEnd, other: &mut FlowKey) -> bool {
    if protocol != TCP {
        return true;
    }
    // Without a count of this generation, the endpoint was removed: the flow has expired before its first packet.
    let Some(flows) = SandboxFlows::find(reply.slot, reply.generation) else {
        return true;
    };
    if flows.has_room(config) {
        return true;
    }
    search_index(config, flows.next_search(), reply.slot, Scope::Quota, other);
    flows.has_room(config)
}

/// Removes flows for a new flow of the endpoint `owner`. `other` is overwritten.
#[inline(always)]
pub fn reclaim_table(config: &Config, owner: &LocalEnd, other: &mut FlowKey) {
    let Some(next) = Sequence::of(Cursor::Reclaim) else {
        return;
    };
    if !search_index(config, next, owner.slot, Scope::Large, other)
        && SandboxFlows::find(owner.slot, owner.generation)
            .is_some_and(|flows| !flows.exceeds_share(config))
    {
        search_index(config, next, owner.slot, Scope::All, other);
    }
}

/// Searches slots of the index from `next` on; returns whether a flow was removed.
#[inline(never)]
fn search_index(
    config: &Config,
    next: Sequence,
    owner: u32,
    scope: Scope,
    other: &mut FlowKey,
) -> bool {
    let Some(newest) = Sequence::of(Cursor::FlowIndex) else {
        return false;
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
    let steps = match scope {
        Scope::Large => STEPS_LARGE,
        Scope::Quota | Scope::All => STEPS,
    };
    let mut search = Search {
        mask,
        next: start,
        owner,
        scope,
        reason: match scope {
            Scope::Quota => Reason::EvictedQuota,
            Scope::Large | Scope::All => Reason::EvictedTableFull,
        },
        removed: false,
        now: helpers::now(),
        key: other,
    };
    repeat(steps, &mut search);
    next.set(search.next);
    search.removed
}

struct Search<'a> {
    /// [`Config::flow_index_mask`].
    mask: u32,
    /// Sequence number of the next slot.
    next: u32,
    /// Slot of the endpoint of the new flow.
    owner: u32,
    /// Which flows may be evicted before their idle limit.
    scope: Scope,
    /// The reason that is counted for such an eviction.
    reason: Reason,
    /// Whether a flow was removed.
    removed: bool,
    /// Coarse monotonic nanoseconds.
    now: u64,
    key: &'a mut FlowKey,
}

impl Step for Search<'_> {
    #[inline(always)]
    fn step(&mut self, _number: u32) -> Continue {
        let slot = self.next & self.mask;
        self.next = self.next.wrapping_add(1);
        if !maps::copy_index_key(slot, self.key) {
            return Continue::No;
        }
        let is_expired = has_expired(self.key, self.now);
        if !is_expired && !is_evicted_early(self.key, self.owner, self.scope) {
            return Continue::Yes;
        }
        // Not called by these stages: on Linux 6.1 the stack frames of the nested calls would exceed the limit.
        if remove_flow(self.key) {
            self.removed = true;
            if !is_expired {
                maps::count(self.reason, 0);
            }
        }
        Continue::Yes
    }
}

stage! {
    /// Whether a flow is in `scope` and is half-open, finished or not sustained. If it is, the caller removes it; the eviction is
    /// counted for its endpoint.
    fn is_evicted_early(key: &FlowKey, owner: u32, scope: Scope) -> bool {
        let Some(config) = maps::config() else {
            return false;
        };
        let Some(entry) = Entry::find(key) else {
            return false;
        };
        let Some(reverse) = entry.reverse() else {
            return false;
        };
        let reply = if entry.is_reply() { entry } else { reverse };
        let state = state(key, entry);
        let is_evictable = state.is_half_open()
            || state.is_finished()
            || !is_sustained(key.protocol, reply.seen());
        let (slot, generation) = reply.slot();
        let flows = SandboxFlows::find(slot, generation);
        let is_in_scope = match scope {
            Scope::Quota => slot == owner && reply.is_counted(),
            Scope::Large => flows.is_none_or(|flows| flows.exceeds_share(config)),
            Scope::All => true,
        };
        if !is_evictable || !is_in_scope {
            return false;
        }
        if let Some(flows) = flows {
            flows.count_eviction();
        }
        true
    }
}
