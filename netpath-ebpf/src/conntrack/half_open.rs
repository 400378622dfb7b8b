//! Half-open flows: a ring for each endpoint and direction.
//!
//! A new flow takes the next element of the ring of its endpoint and direction. If the flow there is still half-open, the
//! element is skipped, and the next one is examined, up to [`STEPS`]. If all of them are half-open, the ring is full: the first
//! one, which is the oldest, is evicted. So a new flow evicts only half-open flows of the same endpoint and direction, and none
//! while most flows of the endpoint are answered. The number of half-open flows is limited by the size of the ring.
//!
//! While almost all examined elements are half-open, only one is examined, because a longer search would rarely find another.
//!
//! An element refers to the flow's slot of the index of all flows. The flow that evicts another one takes that slot, too.
//! So an endpoint at its limit does not displace flows of others from the index.

use netpath_common::{
    flow::{FlowKey, UNTRACKED},
    maps::{Config, INBOUND, OUTBOUND},
    reason::Reason,
};

use super::{
    Entry, index,
    lifetime::{remove_flow, state},
};
use crate::{
    context::{Context, Opening},
    helpers::{Continue, Step, repeat},
    maps::{self, HalfOpenRing},
    stage::stage,
};

/// The most elements that one new flow examines.
const STEPS: u32 = 8;

/// Weight of one examined element in the share of half-open flows: 1/16.
const SHARE_SHIFT: u32 = 4;
/// Share that corresponds to half-open flows only.
const FULL_SHARE: u32 = 1 << 16;
/// Share of half-open flows above which only one element is examined.
const CROWDED: u32 = FULL_SHARE / 10 * 9;

/// Enters the flow in `scratch.flow`, which was inserted, in the ring of half-open flows and in the index of all flows. Both are
/// stages of their own, because the stack of one would be too large on Linux 6.1.
#[inline(always)]
pub fn track(context: &mut Context) {
    if let Some(element) = enter_ring(context) {
        enter_index(context, element);
    }
}

stage! {
    /// Takes an element of the ring for the flow in `scratch.flow`; returns its sequence number. `None` if the flow has a slot of
    /// the index: that of an evicted flow, or another CPU has created the same flow.
    fn enter_ring(context: &mut Context) -> Option<u32> {
        let Context { config, parsed, scratch, .. } = context;
        let (key, other) = (&parsed.key, &mut scratch.flow.other);
        let entry = Entry::find(key)?;
        if entry.index_slot() != UNTRACKED {
            return None;
        }
        let Some(ring) = ring_of(config, &scratch.flow.opening) else {
            return Some(0);
        };
        let first = ring.take();
        let mut search = Search { ring, first, found: NOT_FOUND, key: &mut *other };
        repeat(STEPS, &mut search);
        let found = search.found;
        if found != NOT_FOUND {
            if found != 0 {
                ring.skip_to(first.wrapping_add(found).wrapping_add(1));
            }
            return Some(first.wrapping_add(found));
        }
        let slot = ring.slot(first);
        let is_evicted = maps::copy_index_key(slot, other)
            && is_half_open_at(other, slot, ring.owner(), ring.direction())
            && remove_flow(other);
        if !is_evicted {
            return Some(first);
        }
        ring.count_eviction();
        maps::count(Reason::EvictedHalfOpen, 0);
        maps::store_index_key(slot, key);
        entry.set_index_slot(slot);
        None
    }
}

stage! {
    /// Enters the flow in `scratch.flow` in the index. The element of its ring with the sequence number `element` then refers
    /// to the slot. `false` if the flow was removed.
    fn enter_index(context: &mut Context, element: u32) -> bool {
        let Context { config, parsed, scratch, .. } = context;
        let key = &parsed.key;
        let Some(entry) = Entry::find(key) else {
            return false;
        };
        let slot = index::enter(config, key, &mut scratch.flow.other, entry.created());
        if let Some(ring) = ring_of(config, &scratch.flow.opening) {
            ring.set_slot(element, slot);
        }
        entry.set_index_slot(slot);
        true
    }
}

/// The ring of a new flow; `None` if its endpoint was removed.
#[inline(always)]
fn ring_of(config: &Config, opening: &Opening) -> Option<HalfOpenRing> {
    let owner = &opening.reply;
    HalfOpenRing::find(config, owner.slot, owner.generation, direction(opening))
}

/// The direction of a new flow.
#[inline(always)]
fn direction(opening: &Opening) -> u32 {
    if opening.original.deliver != 0 && opening.reply.deliver == 0 {
        INBOUND
    } else {
        OUTBOUND
    }
}

const NOT_FOUND: u32 = u32::MAX;

struct Search<'a> {
    ring: HalfOpenRing,
    /// Sequence number of the first element.
    first: u32,
    /// Number of the first element without a half-open flow, counted from `first`.
    found: u32,
    key: &'a mut FlowKey,
}

impl Step for Search<'_> {
    #[inline(always)]
    fn step(&mut self, number: u32) -> Continue {
        let slot = self.ring.slot(self.first.wrapping_add(number));
        let is_half_open = maps::copy_index_key(slot, self.key)
            && is_half_open_at(self.key, slot, self.ring.owner(), self.ring.direction());
        let before = self.ring.share();
        let observed = if is_half_open { FULL_SHARE } else { 0 };
        let share = before - (before >> SHARE_SHIFT) + (observed >> SHARE_SHIFT);
        self.ring.set_share(share);
        if !is_half_open {
            self.found = number;
            return Continue::No;
        }
        if share > CROWDED {
            Continue::No
        } else {
            Continue::Yes
        }
    }
}

stage! {
    /// Whether the flow with the key in a slot of the index is half-open, counts for the endpoint in slot `owner`, and has
    /// this direction.
    fn is_half_open_at(key: &FlowKey, slot: u32, owner: u32, direction: u32) -> bool {
        let Some(entry) = Entry::find(key) else {
            return false;
        };
        if !entry.is_original() || entry.index_slot() != slot {
            return false;
        }
        let Some(reply) = entry.reverse() else {
            return false;
        };
        let direction_of_entry = if entry.is_inbound() { INBOUND } else { OUTBOUND };
        direction_of_entry == direction
            && reply.slot().0 == owner
            && state(key, entry).is_half_open()
    }
}
