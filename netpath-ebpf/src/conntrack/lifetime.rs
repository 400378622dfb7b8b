//! State, expiry and removal of flows.

use netpath_common::{
    flow::{FlowKey, State, TCP},
    maps::{SWEEP_ALWAYS, SweepRecord},
};

use super::{Entry, accounting};
use crate::{maps, stage::stage};

/// Age in nanoseconds up to which an entry without a reverse entry is a flow that another CPU is creating.
const CREATION_GRACE: u64 = 1_000_000_000;

stage! {
    /// Removes a flow by the key of either entry. `false` if there is none.
    pub fn remove_flow(key: &FlowKey) -> bool {
        let Some(entry) = Entry::find(key) else {
            return false;
        };
        let reverse_key = entry.to().reversed();
        remove_both(key, &reverse_key, entry.created());
        true
    }
}

/// Removes both entries of the flow that was created at `created`. An entry with either key that another CPU has created
/// since then is not removed.
#[inline(always)]
fn remove_both(key: &FlowKey, reverse_key: &FlowKey, created: u64) {
    if let Some(entry) = Entry::find(reverse_key)
        && entry.created() == created
    {
        accounting::remove_entry(reverse_key, entry);
    }
    if let Some(entry) = Entry::find(key)
        && entry.created() == created
    {
        accounting::remove_entry(key, entry);
    }
}

/// Removes the flow if neither entry was used since the times in `record`. Returns whether it was removed.
#[inline(always)]
pub fn remove_if_idle(record: &SweepRecord) -> bool {
    let Some(entry) = Entry::find(&record.key) else {
        return false;
    };
    let reverse_key = entry.to().reversed();
    if record.last_seen != SWEEP_ALWAYS {
        if entry.last_seen() != record.last_seen {
            return false;
        }
        if let Some(reverse) = Entry::find(&reverse_key)
            && reverse.last_seen() != record.reverse_last_seen
        {
            return false;
        }
    }
    remove_both(&record.key, &reverse_key, entry.created());
    true
}

stage! {
    /// Whether the flow has expired: its endpoint was removed, or its idle limit has passed.
    pub(super) fn has_expired(key: &FlowKey, now: u64) -> bool {
        let Some(config) = maps::config() else {
            return false;
        };
        let Some(entry) = Entry::find(key) else {
            return true;
        };
        if entry.endpoint().is_none() && !entry.is_of_node() {
            return true;
        }
        let Some(reverse) = entry.reverse() else {
            return now.saturating_sub(entry.created()) > CREATION_GRACE;
        };
        let (original, reply) = if entry.is_original() {
            (entry, reverse)
        } else {
            (reverse, entry)
        };
        let state = State::of(key.protocol, original.seen(), reply.seen());
        let last_seen = if original.last_seen() > reply.last_seen() {
            original.last_seen()
        } else {
            reply.last_seen()
        };
        now.saturating_sub(last_seen) > config.timers.idle_limit(key.protocol, state)
    }
}

/// Removes the flow with an entry under this key, because the node or another NAT has sent a packet whose replies have this
/// tuple. `false` if it is a TCP connection that is neither half-open nor finished, which remains.
#[inline(always)]
pub fn yield_tuple(key: &FlowKey) -> bool {
    let Some(entry) = Entry::find(key) else {
        return true;
    };
    if key.protocol == TCP {
        let state = state(key, entry);
        if !state.is_half_open() && !state.is_finished() {
            return false;
        }
    }
    remove_flow(key);
    true
}

/// Whether the connection that an entry belongs to has ended.
#[inline(always)]
pub fn is_finished(key: &FlowKey, entry: Entry) -> bool {
    state(key, entry).is_finished()
}

/// The state of the flow that an entry belongs to.
#[inline(always)]
pub(super) fn state(key: &FlowKey, entry: Entry) -> State {
    let reverse = match entry.reverse() {
        Some(reverse) => reverse.seen(),
        None => 0,
    };
    if entry.is_original() {
        State::of(key.protocol, entry.seen(), reverse)
    } else {
        State::of(key.protocol, reverse, entry.seen())
    }
}
