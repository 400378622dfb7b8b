//! Fragments of datagrams that are translated.
//!
//! Only the first fragment has ports. What its flow does with it is kept in `fragments`, under the addresses and the
//! identification that all fragments share, and later ones go the same way.
//!
//! A later fragment that comes before the first is held: its bytes are copied to a ring of places, and named in
//! `orphans`. When the first one comes, it and what was held are sent once more through the hook they came in by, where
//! all of them meet what is known by then. Both tables and the ring are bounded and apart from each other: a flood of
//! fragments without a first one pushes out nothing but its like (RFC 4787 REQ-14).
//!
//! Two senders may use the same identification towards one receiver, which could not tell their fragments apart once
//! they have the same source address. So each translated datagram gets a new one.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_INGRESS, BPF_F_RECOMPUTE_CSUM},
    helpers::generated::{
        bpf_clone_redirect, bpf_loop, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
};
use netpath_common::{
    flow::{FlowKey, Half, REWRITE_DST, REWRITE_SRC},
    maps::{Cursor, Endpoint, FragmentKey, Fragmented, HELD_BYTES, ORPHAN_PLACES, Orphan},
    reason::Reason,
};

use crate::{
    atomic,
    conntrack::{self, Side, keys},
    helpers::bounded,
    maps,
    packet::{Packet, skb::Skb},
    parse::{ETHERNET, Parsed, Piece},
    rewrite,
};

/// What is known of a later fragment's datagram.
pub struct Known {
    /// Where it goes, or the sender's.
    pub endpoint: &'static Endpoint,
    /// As [`Half::flags`].
    pub flags: u8,
    to: &'static FlowKey,
    id: u32,
}

impl Known {
    /// Gives a fragment its datagram's translation. `false` if it cannot be written.
    #[inline(always)]
    pub fn translate(&self, skb: &mut Skb, parsed: &Parsed) -> bool {
        self.flags & (REWRITE_SRC | REWRITE_DST) == 0
            || rewrite::translate_fragment(skb, parsed, self.to, self.flags, self.id).is_some()
    }
}

/// What a fragment needs beyond the stack; one for each CPU.
#[repr(C)]
pub struct Scratch {
    key: FragmentKey,
    entry: Fragmented,
    orphan: Orphan,
}

/// The identification with which a packet of a flow goes on. If it is a first fragment, what happens to the later ones is
/// noted.
///
/// # Errors
/// The reason why it is to go no further: it was sent through this hook once more, together with what was held for it.
#[inline(always)]
pub fn begin(skb: &mut Skb, parsed: &Parsed, half: *mut Half, side: Side) -> Result<u32, Reason> {
    if parsed.piece != Piece::First {
        return Ok(parsed.id);
    }
    first(skb, parsed, half, side).ok_or(Reason::FragmentsReplayed)
}

/// Notes what happens to the later fragments of a datagram; `None` if all were sent through the hook once more.
#[inline(never)]
fn first(skb: &mut Skb, parsed: &Parsed, half: *mut Half, side: Side) -> Option<u32> {
    let (Some(config), Some(scratch)) = (maps::config(), maps::fragment_scratch()) else {
        return Some(parsed.id);
    };
    set_key(&mut scratch.key, parsed, side);
    let now = conntrack::now();
    let entry = &mut scratch.entry;
    // SAFETY: map values, alive while the program runs; the fields of a half never change.
    unsafe {
        keys::set(&mut entry.to, &(*half).to);
        entry.endpoint = (*half).endpoint;
        entry.generation = (*half).generation;
        entry.flags = (*half).flags;
    }
    entry.last_seen = now;
    entry.bytes = length(parsed);
    entry.total = 0;
    entry.id = if entry.flags & (REWRITE_SRC | REWRITE_DST) == 0 {
        parsed.id
    } else {
        // One that comes again, from the wire or sent again with what was held, must not part with those that went on.
        match known_id(&scratch.key, entry, config.timers.fragment) {
            Some(id) => id,
            None => new_id(parsed, config.fragment_key),
        }
    };
    let id = entry.id;
    // A least-recently-used table has room; if not, later fragments are held in vain.
    maps::put_fragmented(&scratch.key, &scratch.entry);
    let Some(orphan) = maps::orphan(&scratch.key) else {
        return Some(id);
    };
    // SAFETY: a map value, readable while the program runs; removed only after it was copied.
    unsafe {
        scratch.orphan.first_seen = (*orphan).first_seen;
        scratch.orphan.count = (*orphan).count;
        for (to, from) in scratch.orphan.turns.iter_mut().zip(&(*orphan).turns) {
            *to = *from;
        }
    }
    maps::remove_orphan(&scratch.key);
    if now.saturating_sub(scratch.orphan.first_seen) > config.timers.fragment {
        return Some(id);
    }
    let mut replay = Replay {
        skb,
        scratch,
        oldest: now.saturating_sub(config.timers.fragment),
        flags: again(side),
    };
    // SAFETY: plain helper call on the program's own context; `replay` outlives the loop and nothing keeps it (Linux
    // 5.17).
    unsafe {
        let device = replay.skb.ifindex();
        let refused = bpf_clone_redirect(replay.skb.as_ptr(), device, replay.flags) != 0;
        // At egress the copy has been through the program by now, wherever it was lost then.
        if refused && side != Side::Egress {
            return Some(id);
        }
        let count = replay.scratch.orphan.count;
        bpf_loop(
            if count < ORPHAN_PLACES as u32 {
                count
            } else {
                ORPHAN_PLACES as u32
            },
            replay_one as *mut c_void,
            (&raw mut replay).cast(),
            0,
        );
    }
    None
}

/// The flags with which a packet goes through its hook again.
#[inline(always)]
fn again(side: Side) -> u64 {
    if side == Side::Egress {
        0
    } else {
        BPF_F_INGRESS as u64
    }
}

/// The identification that a datagram has got already, if its first fragment came before and had the same translation.
#[inline(always)]
fn known_id(key: &FragmentKey, entry: &Fragmented, limit: u64) -> Option<u32> {
    let found = maps::fragmented(key)?;
    // SAFETY: a map value, readable while the program runs.
    unsafe {
        let is_same = (*found).to == entry.to
            && (*found).endpoint == entry.endpoint
            && (*found).generation == entry.generation
            && entry.last_seen.saturating_sub((*found).last_seen) <= limit;
        if is_same { Some((*found).id) } else { None }
    }
}

/// Notes that a datagram is not translated, so that its later fragments need not be held.
#[inline(never)]
pub fn passes(parsed: &Parsed, side: Side) {
    let Some(scratch) = maps::fragment_scratch() else {
        return;
    };
    set_key(&mut scratch.key, parsed, side);
    keys::set(&mut scratch.entry.to, &parsed.key);
    scratch.entry.last_seen = conntrack::now();
    scratch.entry.bytes = 0;
    scratch.entry.total = 0;
    scratch.entry.id = parsed.id;
    scratch.entry.endpoint = NOBODY;
    scratch.entry.generation = 0;
    scratch.entry.flags = 0;
    maps::put_fragmented(&scratch.key, &scratch.entry);
}

/// The slot that no endpoint has.
const NOBODY: u32 = 0;

/// What is known of a later fragment's datagram; `None` if its first fragment has not come yet.
#[inline(always)]
pub fn find(parsed: &Parsed, side: Side) -> Option<Known> {
    let (config, scratch) = (maps::config()?, maps::fragment_scratch()?);
    set_key(&mut scratch.key, parsed, side);
    let found = maps::fragmented(&scratch.key)?;
    let now = conntrack::now();
    // SAFETY: a map value, readable while the program runs. The table may give the place to another datagram at any
    // time; what is used is copied, and what was copied of another one shows by its key's absence.
    unsafe {
        if now.saturating_sub((*found).last_seen) > config.timers.fragment {
            return None;
        }
        keys::set(&mut scratch.entry.to, &(*found).to);
        let (id, flags) = ((*found).id, (*found).flags);
        let endpoint = maps::live_endpoint((*found).endpoint, (*found).generation)?;
        let bytes = atomic::fetch_add_u32(&raw mut (*found).bytes, length(parsed));
        let bytes = bytes.wrapping_add(length(parsed));
        if parsed.is_last {
            (*found).total = parsed.piece_at.wrapping_add(length(parsed));
        }
        let total = (*found).total;
        // All of it has passed: the identification is free for the sender's next datagram.
        if total != 0 && bytes >= total {
            maps::remove_fragmented(&scratch.key);
        }
        Some(Known {
            endpoint,
            to: &scratch.entry.to,
            id,
            flags,
        })
    }
}

/// Keeps a copy of a fragment whose first one has not come yet. `false` if there is no place for it, or if its first one was
/// not translated.
#[inline(never)]
pub fn hold(skb: &Skb, parsed: &Parsed, side: Side) -> bool {
    let size = skb.len() as u32;
    if size as usize > HELD_BYTES || size < ETHERNET as u32 + 1 {
        return false;
    }
    let (Some(config), Some(scratch)) = (maps::config(), maps::fragment_scratch()) else {
        return false;
    };
    set_key(&mut scratch.key, parsed, side);
    let now = conntrack::now();
    if let Some(found) = maps::fragmented(&scratch.key) {
        // SAFETY: a map value, readable while the program runs.
        let (endpoint, seen) = unsafe { ((*found).endpoint, (*found).last_seen) };
        if endpoint == NOBODY && now.saturating_sub(seen) <= config.timers.fragment {
            return false;
        }
    }
    let Some(turn) = maps::turn(Cursor::Held) else {
        return false;
    };
    let Some(held) = maps::held(turn) else {
        return false;
    };
    // SAFETY: map values, and plain helper calls on the program's own context. The cursor gives a place to one CPU at a
    // time; a whole turn of the ring meanwhile shows in `turn`, which readers compare before and after.
    unsafe {
        (*held).turn = turn;
        (*held).held = now;
        (*held).length = size;
        set_key(&mut (*held).key, parsed, side);
        let bytes = (&raw mut (*held).bytes).cast();
        let Some(size) = bounded::<HELD_BYTES>(size) else {
            return false;
        };
        if bpf_skb_load_bytes(skb.as_ptr().cast(), 0, bytes, size) != 0 {
            return false;
        }
        let mut orphan = maps::orphan(&scratch.key);
        if orphan.is_none() {
            scratch.orphan.first_seen = now;
            scratch.orphan.count = 0;
            maps::claim_orphan(&scratch.key, &scratch.orphan);
            orphan = maps::orphan(&scratch.key);
        }
        let Some(orphan) = orphan else {
            return false;
        };
        let number = atomic::fetch_add_u32(&raw mut (*orphan).count, 1) as usize;
        let Some(place) = (*orphan).turns.get_mut(number) else {
            return false;
        };
        *place = turn;
        // Another CPU may have had the first one meanwhile, and have seen nothing held.
        if let Some(found) = maps::fragmented(&scratch.key)
            && (*found).last_seen >= now
            && maps::live_endpoint((*found).endpoint, (*found).generation).is_some()
        {
            bpf_clone_redirect(skb.as_ptr(), skb.ifindex(), again(side));
        }
        true
    }
}

struct Replay<'a> {
    skb: &'a mut Skb,
    scratch: &'a mut Scratch,
    oldest: u64,
    flags: u64,
}

const GO_ON: i64 = 0;

/// Makes the packet at hand the held one, and sends a copy of it through the hook. A callback, so that the verifier
/// follows it once.
unsafe extern "C" fn replay_one(number: u32, replay: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` passes on what `first` gave it.
    let replay = unsafe { &mut *replay.cast::<Replay<'_>>() };
    let Some(turn) = replay.scratch.orphan.turns.get(number as usize) else {
        return GO_ON;
    };
    let turn = *turn;
    let Some(held) = maps::held(turn) else {
        return GO_ON;
    };
    let skb = replay.skb.as_ptr();
    // SAFETY: a map value, readable while the program runs; plain helper calls on the program's own context, whose
    // lengths are bounded by the value's size.
    unsafe {
        let size = (&raw const (*held).length).read_volatile();
        if (*held).turn != turn
            || (*held).held < replay.oldest
            || (*held).key != replay.scratch.key
            || size as usize > HELD_BYTES
            || size < ETHERNET as u32 + 1
        {
            return GO_ON;
        }
        let bytes: *const u8 = (&raw const (*held).bytes).cast();
        if bpf_skb_change_tail(skb, size, 0) != 0
            || bpf_skb_store_bytes(skb, 0, bytes.cast(), ETHERNET as u32, 0) != 0
        {
            return GO_ON;
        }
        let Some(body) = bounded::<{ HELD_BYTES - ETHERNET }>(size - ETHERNET as u32) else {
            return GO_ON;
        };
        let offset = ETHERNET as u32;
        let flags = BPF_F_RECOMPUTE_CSUM as u64;
        if bpf_skb_store_bytes(skb, offset, bytes.add(ETHERNET).cast(), body, flags) != 0 {
            return GO_ON;
        }
        if (&raw const (*held).turn).read_volatile() == turn {
            bpf_clone_redirect(skb, replay.skb.ifindex(), replay.flags);
        }
    }
    GO_ON
}

/// Bytes of the datagram that a fragment carries.
#[inline(always)]
fn length(parsed: &Parsed) -> u32 {
    parsed.end.saturating_sub(parsed.piece_start) as u32
}

/// An identification that no other translated datagram has had for as long as a counter of its width allows: the
/// counter, in an order that a key chooses, so that one does not tell the next (RFC 7739 §5.3).
#[inline(always)]
fn new_id(parsed: &Parsed, key: u64) -> u32 {
    let Some(count) = maps::turn(Cursor::FragmentId) else {
        return parsed.id;
    };
    // A Feistel network is one to one whatever its round does; IPv4 takes half the bits.
    let bits = if parsed.v4 { 8 } else { 16 };
    let mask = (1_u32 << bits) - 1;
    let (mut left, mut right) = ((count >> bits) & mask, count & mask);
    for round in 0..4 {
        let mixed =
            (right as u64 ^ key.rotate_left(16 * round)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (left, right) = (right, left ^ ((mixed >> 40) as u32 & mask));
    }
    left << bits | right
}

/// Fragments of one IPv6 datagram may differ in what they say comes next (RFC 8200 §4.5).
#[inline(always)]
fn set_key(key: &mut FragmentKey, parsed: &Parsed, side: Side) {
    key.src = parsed.key.src;
    key.dst = parsed.key.dst;
    key.id = parsed.id;
    key.protocol = if parsed.v4 { parsed.key.protocol } else { 0 };
    key.side = side as u8;
    key.pad2 = 0;
}
