//! The life of flows: find, touch, create, evict. Layout and rules stand in `netpath_common::flow`.

mod create;
pub mod keys;
pub mod quota;
pub mod reclaim;
mod rings;

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use netpath_common::{
    flow::{
        DELIVER, FlowKey, Half, ICMP, ICMPV6, INSIDE, ORIGINAL, SEEN_ACK, SEEN_ANY, SEEN_FIN,
        SEEN_RST, SEEN_SYN, State, TCP,
    },
    maps::{Config, Endpoint, SWEEP_ALWAYS, SweepRecord},
};

use crate::{
    atomic, maps,
    packet::{Packet, skb::Skb},
    parse::{ACK, ETHERNET, FIN, Parsed, RST, SYN},
};

pub use create::{Inner, Opening, Refused, SourcePort, create};

/// A half in the map, and the endpoint at its inner end.
pub type Found = (*mut Half, &'static Endpoint);

/// Where a packet is met, which tells the halves it may belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// It came in by an uplink.
    Ingress = 0,
    /// It leaves by an uplink.
    Egress = 1,
    /// It came from a sandbox and goes to an address of this node.
    Inside = 2,
}

impl Side {
    #[inline(always)]
    fn fits(self, flags: u8) -> bool {
        let expected = match self {
            Self::Ingress => DELIVER,
            Self::Egress => 0,
            Self::Inside => DELIVER | INSIDE,
        };
        flags & (DELIVER | INSIDE) == expected
    }
}

/// The half that a packet belongs to. One that others' packets have is not found: an address that somebody forges
/// leads nowhere.
///
/// A flow whose endpoint is gone is removed and not found; so is a finished one when the side that opened it opens a
/// connection with the same tuple again (RFC 9293 §3.6.1). When the other side does, the flow begins anew.
#[inline(always)]
pub fn find(parsed: &Parsed, side: Side) -> Option<Found> {
    let key = &parsed.key;
    let half = half_of(key, parsed.opens_flow(), side)?;
    let Some(endpoint) = endpoint_of(half) else {
        remove(key);
        return None;
    };
    if key.protocol == TCP && parsed.opens_flow() && is_finished(key, half) {
        // SAFETY: a map value, readable while the program runs.
        if unsafe { (*half).role } == ORIGINAL {
            remove(key);
            return None;
        }
        begin_anew(half);
    }
    Some((half, endpoint))
}

/// Forgets what both directions have sent. The translation stays: the side that answered knows no other.
#[inline(never)]
fn begin_anew(half: *mut Half) {
    // SAFETY: map values, alive while the program runs; single stores, as in `touch`.
    unsafe {
        (*half).seen = 0;
        if let Some(twin) = maps::flow(&(*half).to.reversed()) {
            (*twin).seen = 0;
        }
    }
}

/// The half of the packets that answer one quoted by an ICMP error. Nothing is touched and nothing removed: an error
/// neither keeps a flow alive nor ends it.
#[inline(always)]
pub fn find_answering(answer: &FlowKey, quote: &Parsed, side: Side) -> Option<Found> {
    let half = half_of(answer, !quote.opens_flow(), side)?;
    endpoint_of(half).map(|endpoint| (half, endpoint))
}

/// The half of a tuple, as packets of a side have it. `opens` says whether a packet with that tuple is one that opens a
/// flow.
#[inline(always)]
fn half_of(key: &FlowKey, opens: bool, side: Side) -> Option<*mut Half> {
    let half = maps::flow(key)?;
    // SAFETY: a map value, readable while the program runs.
    let (role, flags) = unsafe { ((*half).role, (*half).flags) };
    // With identifier 0 an echo request has the very tuple of a reply.
    if !side.fits(flags) || (matches!(key.protocol, ICMP | ICMPV6) && opens != (role == ORIGINAL)) {
        return None;
    }
    Some(half)
}

/// The endpoint of a half, if it still lives.
#[inline(always)]
fn endpoint_of(half: *const Half) -> Option<&'static Endpoint> {
    // SAFETY: a map value, readable while the program runs.
    let (slot, generation) = unsafe { ((*half).endpoint, (*half).generation) };
    maps::live_endpoint(slot, generation)
}

/// Counts a packet in its half and notes what it says about the state.
#[inline(always)]
pub fn touch(half: *mut Half, skb: &Skb, parsed: &Parsed) {
    let seen = seen(parsed);
    // SAFETY: a map value, readable while the program runs. `last_seen` and `seen` are single stores: whichever CPU's
    // lands last leaves a right value, since every packet in flight is evidence of the same flow.
    unsafe {
        atomic::add_u64(&raw mut (*half).packets, skb.segments());
        atomic::add_u64(
            &raw mut (*half).bytes,
            skb.len().saturating_sub(ETHERNET) as u64,
        );
        (*half).last_seen = now();
        let before = (*half).seen;
        // Anything but an RST revives the direction: a forged RST must not end a flow.
        let after = if seen & SEEN_RST != 0 {
            before | seen
        } else {
            (before & !SEEN_RST) | seen
        };
        if after != before {
            (*half).seen = after;
        }
    }
}

/// Removes a flow by the key of either half.
#[inline(never)]
pub fn remove(key: &FlowKey) {
    if let Some(half) = maps::flow(key) {
        // SAFETY: a map value, readable while the program runs.
        let (twin, created) = unsafe { ((*half).to.reversed(), (*half).created) };
        remove_both(key, &twin, created);
    }
}

/// Removes both halves. One that another CPU has made meanwhile under either key stays: both halves of a flow are as
/// old as each other.
#[inline(always)]
fn remove_both(key: &FlowKey, twin: &FlowKey, created: u64) {
    // SAFETY: map values, readable while the program runs.
    unsafe {
        if let Some(half) = maps::flow(twin)
            && (*half).created == created
        {
            quota::remove_half(twin, half);
        }
        if let Some(half) = maps::flow(key)
            && (*half).created == created
        {
            quota::remove_half(key, half);
        }
    }
}

/// Removes the flow if neither half was used since the given times: compare and delete, for the daemon's sweep.
#[inline(always)]
pub fn remove_if_idle(record: &SweepRecord) -> bool {
    let Some(half) = maps::flow(&record.key) else {
        return false;
    };
    // SAFETY: map values, readable while the program runs.
    unsafe {
        let twin_key = (*half).to.reversed();
        if record.last_seen != SWEEP_ALWAYS {
            if (*half).last_seen != record.last_seen {
                return false;
            }
            if let Some(twin) = maps::flow(&twin_key)
                && (*twin).last_seen != record.twin_last_seen
            {
                return false;
            }
        }
        remove_both(&record.key, &twin_key, (*half).created);
    }
    true
}

/// Whether a flow has nothing left to protect: its endpoint is gone or its time is up.
#[inline(never)]
pub fn is_over(key: &FlowKey, config: &Config, now: u64) -> bool {
    let Some(half) = maps::flow(key) else {
        return true;
    };
    // SAFETY: map values, readable while the program runs.
    unsafe {
        if maps::live_endpoint((*half).endpoint, (*half).generation).is_none() {
            return true;
        }
        let Some(twin) = maps::flow(&(*half).to.reversed()) else {
            // Half a flow is one that another CPU is just creating, or removing.
            return now.saturating_sub((*half).created) > HALF_GRACE;
        };
        let (original, reply) = if (*half).role == ORIGINAL {
            (half, twin)
        } else {
            (twin, half)
        };
        let state = State::of(key.protocol, (*original).seen, (*reply).seen);
        let last = if (*original).last_seen > (*reply).last_seen {
            (*original).last_seen
        } else {
            (*reply).last_seen
        };
        now.saturating_sub(last) > config.timers.idle_limit(key.protocol, state)
    }
}

/// The state of the flow that a half belongs to.
#[inline(never)]
pub fn state(key: &FlowKey, half: *mut Half) -> State {
    // SAFETY: map values, readable while the program runs.
    unsafe {
        let twin = match maps::flow(&(*half).to.reversed()) {
            Some(twin) => (*twin).seen,
            None => 0,
        };
        if (*half).role == ORIGINAL {
            State::of(key.protocol, (*half).seen, twin)
        } else {
            State::of(key.protocol, twin, (*half).seen)
        }
    }
}

#[inline(always)]
fn is_finished(key: &FlowKey, half: *mut Half) -> bool {
    state(key, half).is_finished()
}

/// Coarse monotonic nanoseconds: a tick's resolution, without reading the clock source.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: plain helper call.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Nanoseconds for which half a flow is taken for one in the making.
const HALF_GRACE: u64 = 1_000_000_000;

#[inline(always)]
fn seen(parsed: &Parsed) -> u8 {
    let mut seen = SEEN_ANY;
    if parsed.key.protocol == TCP {
        let flags = parsed.tcp_flags;
        if flags & SYN != 0 {
            seen |= SEEN_SYN;
        }
        if flags & FIN != 0 {
            seen |= SEEN_FIN;
        }
        if flags & RST != 0 {
            seen |= SEEN_RST;
        } else if flags & (SYN | ACK) == ACK {
            seen |= SEEN_ACK;
        }
    }
    seen
}
