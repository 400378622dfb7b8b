//! The life of flows: find, touch, create, evict. Layout and rules stand in `netpath_common::flow`.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use netpath_common::{
    flow::{
        DELIVER, FlowKey, Half, ICMP, ICMPV6, INSIDE, Kind, ORIGINAL, REPLY, REWRITE_DST,
        REWRITE_SRC, SEEN_ACK, SEEN_ANY, SEEN_FIN, SEEN_RST, SEEN_SYN, State, TCP,
    },
    maps::{Config, Cursor, Endpoint},
};

use crate::{
    atomic,
    maps::{self, Scratch},
    packet::{Packet, skb::Skb},
    parse::{ACK, ETHERNET, FIN, Parsed, RST, SYN},
};

const EEXIST: i32 = -17;

/// A flow to be created; its tuple after translation stands in [`Scratch::to`].
#[repr(align(8))]
pub struct Opening {
    /// Inner end of the opening direction.
    pub original: Inner,
    /// Inner end of the answering direction.
    pub reply: Inner,
    /// What translation it is.
    pub kind: Kind,
    /// Which source ports it may have.
    pub source: SourcePort,
}

/// Which source ports a new flow may have after translation.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SourcePort {
    /// Only the one it has.
    Keep,
    /// The one it has if its reply tuple is free, otherwise one that SNAT may use.
    Prefer,
    /// One that SNAT may use, the one it has included.
    Choose,
}

/// The inner end of one direction.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Inner {
    endpoint: u32,
    generation: u32,
    deliver: u32,
}

impl Inner {
    /// Packets go into the sandbox.
    #[inline(always)]
    pub fn into(slot: u32, endpoint: &Endpoint) -> Self {
        Self {
            endpoint: slot,
            generation: endpoint.generation,
            deliver: DELIVER as u32,
        }
    }

    /// Packets leave the node.
    #[inline(always)]
    pub fn out_of(slot: u32, endpoint: &Endpoint) -> Self {
        Self {
            endpoint: slot,
            generation: endpoint.generation,
            deliver: 0,
        }
    }
}

/// Why a flow was not created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another flow has the reply tuple.
    Taken,
    /// There is no room.
    Full,
}

/// A half in the map, and the endpoint at its inner end.
pub type Found = (*mut Half, &'static Endpoint);

/// Where a packet is met, which tells the halves it may belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It came in by an uplink.
    Ingress,
    /// It leaves by an uplink.
    Egress,
    /// It came from a sandbox and goes to an address of this node.
    Inside,
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
/// connection with the same tuple again (RFC 9293 §3.6.1).
#[inline(always)]
pub fn find(parsed: &Parsed, side: Side) -> Option<Found> {
    let key = &parsed.key;
    let half = maps::flow(key)?;
    // SAFETY: a map value, readable while the program runs.
    let (slot, generation, role, flags) = unsafe {
        (
            (*half).endpoint,
            (*half).generation,
            (*half).role,
            (*half).flags,
        )
    };
    if !side.fits(flags) {
        return None;
    }
    // With identifier 0 an echo request has the very tuple of a reply.
    if matches!(key.protocol, ICMP | ICMPV6) && parsed.opens_flow() != (role == ORIGINAL) {
        return None;
    }
    if let Some(endpoint) = maps::live_endpoint(slot, generation)
        && !(key.protocol == TCP
            && role == ORIGINAL
            && parsed.opens_flow()
            && is_finished(key, half))
    {
        return Some((half, endpoint));
    }
    remove(key);
    None
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

/// Creates both halves, the reply's first.
///
/// If another CPU was faster with the same flow, that one counts.
#[inline(always)]
pub fn create(opening: &Opening, parsed: &Parsed, scratch: &mut Scratch) -> Result<(), Refused> {
    let Some(config) = maps::config() else {
        return Err(Refused::Full);
    };
    let from = &parsed.key;
    let mut flags = opening.original.deliver as u8;
    let mut reply_flags = opening.reply.deliver as u8;
    if flags & reply_flags & DELIVER != 0 {
        flags |= INSIDE;
        reply_flags |= INSIDE;
    }
    if from.src != scratch.to.src || from.sport != scratch.to.sport {
        flags |= REWRITE_SRC;
        reply_flags |= REWRITE_DST;
    }
    if from.dst != scratch.to.dst || from.dport != scratch.to.dport {
        flags |= REWRITE_DST;
        reply_flags |= REWRITE_SRC;
    }
    let half = &mut scratch.half;
    half.last_seen = now();
    half.created = half.last_seen;
    half.packets = 0;
    half.bytes = 0;
    half.kind = opening.kind as u8;
    half.pad = 0;
    set_reversed(&mut scratch.reply_key, &scratch.to);

    set_reversed(&mut half.to, from);
    half.endpoint = opening.reply.endpoint;
    half.generation = opening.reply.generation;
    half.role = REPLY;
    half.seen = 0;
    half.flags = reply_flags;
    if let Err(error) = maps::claim_flow(&scratch.reply_key, half) {
        if error != EEXIST {
            return Err(Refused::Full);
        }
        if !is_over(&scratch.reply_key, config, half.created) {
            // The same flow, created by another CPU a moment ago, is as good as this one.
            return match maps::flow(from) {
                // SAFETY: a map value, readable while the program runs.
                Some(other) if unsafe { (*other).to == scratch.to } => Ok(()),
                _ => Err(Refused::Taken),
            };
        }
        remove(&scratch.reply_key);
        if maps::claim_flow(&scratch.reply_key, half).is_err() {
            return Err(Refused::Taken);
        }
    }

    set(&mut half.to, &scratch.to);
    half.endpoint = opening.original.endpoint;
    half.generation = opening.original.generation;
    half.role = ORIGINAL;
    half.seen = seen(parsed);
    half.flags = flags;
    if let Err(error) = maps::claim_flow(from, half) {
        maps::remove_flow(&scratch.reply_key);
        return if error == EEXIST {
            Ok(())
        } else {
            Err(Refused::Full)
        };
    }
    enter_rings(from, config, half.created, &mut scratch.old);
    Ok(())
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
            maps::remove_flow(twin);
        }
        if let Some(half) = maps::flow(key)
            && (*half).created == created
        {
            maps::remove_flow(key);
        }
    }
}

/// Removes the flow if neither half was used since the given times: compare and delete, for the daemon's sweep.
#[inline(always)]
pub fn remove_if_idle(key: &FlowKey, last_seen: u64, twin_last_seen: u64) -> bool {
    let Some(half) = maps::flow(key) else {
        return false;
    };
    // SAFETY: map values, readable while the program runs.
    unsafe {
        let twin_key = (*half).to.reversed();
        if (*half).last_seen != last_seen {
            return false;
        }
        if let Some(twin) = maps::flow(&twin_key)
            && (*twin).last_seen != twin_last_seen
        {
            return false;
        }
        remove_both(key, &twin_key, (*half).created);
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
    matches!(state(key, half), State::Closing | State::Reset)
}

/// Coarse monotonic nanoseconds: a tick's resolution, without reading the clock source.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: plain helper call.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Nanoseconds for which half a flow is taken for one in the making.
const HALF_GRACE: u64 = 1_000_000_000;

/// Gives a new flow its place in both rings.
///
/// The place in the half-open ring is taken from the flow that was created a whole ring ago: if that one never became
/// established, it goes. See [`enter_index`] for the other ring.
#[inline(always)]
fn enter_rings(key: &FlowKey, config: &Config, now: u64, old: &mut FlowKey) {
    if let Some(place) = maps::ring_place(Cursor::HalfOpen, config.half_open_mask) {
        // SAFETY: a map value; the cursor gives a place to one CPU at a time, and a key torn by a whole turn of the
        // ring within this call names no flow.
        replace(unsafe { &mut *place }, key, old);
        if let Some(half) = maps::flow(old)
            && state(old, half).is_half_open()
        {
            remove(old);
        }
    }
    enter_index(key, config, now, old);
}

/// Places of the index that one new flow looks at.
const INDEX_STEPS: u32 = 4;

/// Gives a key its place in the index of all flows, and removes the flow that had it if that one is over; otherwise it
/// gets the next place, and so on. This keeps the table usable while nobody sweeps it: flows of a day without a daemon
/// are found again here, whatever their age. The index has two places for each flow, so the last key that is left
/// without one is hardly ever that of a living flow.
#[inline(always)]
fn enter_index(key: &FlowKey, config: &Config, now: u64, old: &mut FlowKey) {
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

/// Looks at places of the index whose flows may be over, without giving them away: for a table that is full.
#[inline(never)]
pub fn reclaim(scratch: &mut Scratch) {
    let Some(config) = maps::config() else {
        return;
    };
    let now = now();
    for _ in 0..RECLAIM_STEPS {
        let Some(place) = maps::ring_place(Cursor::FlowIndex, config.flow_index_mask) else {
            return;
        };
        // SAFETY: as in `enter_rings`.
        set(&mut scratch.old, unsafe { &*place });
        if is_over(&scratch.old, config, now) {
            remove(&scratch.old);
        }
    }
}

/// Places that a flow which finds the table full looks at.
const RECLAIM_STEPS: u32 = 16;

#[inline(always)]
fn replace(place: &mut FlowKey, new: &FlowKey, old: &mut FlowKey) {
    set(old, place);
    set(place, new);
}

/// Copies field by field: assigning the whole would call a byte loop.
#[inline(always)]
pub fn set(to: &mut FlowKey, from: &FlowKey) {
    to.src = from.src;
    to.dst = from.dst;
    to.sport = from.sport;
    to.dport = from.dport;
    to.protocol = from.protocol;
    to.pad = 0;
    to.pad2 = 0;
}

#[inline(always)]
fn set_reversed(to: &mut FlowKey, from: &FlowKey) {
    to.src = from.dst;
    to.dst = from.src;
    to.sport = from.dport;
    to.dport = from.sport;
    to.protocol = from.protocol;
    to.pad = 0;
    to.pad2 = 0;
}

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
