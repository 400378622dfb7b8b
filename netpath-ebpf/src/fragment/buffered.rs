//! Later fragments that arrived before the first fragment of their datagram.

use netpath_common::{
    hook::Hook,
    maps::{
        BUFFER_BYTES, BufferedFragment, Cursor, FragmentKey, MAX_BUFFERED, PENDING_SLOTS,
        PendingDatagram,
    },
};

use super::{set_key, stored::Stored};
use crate::{
    context::{Context, FragmentScratch},
    helpers::{self, Continue, Step, repeat},
    maps::{BPF_NOEXIST, BUFFERED, PENDING, Sequence},
    packet::{Packet, skb::Skb},
    parse::{ETHERNET, Parsed},
};

/// A buffer of the ring. Each sequence number is taken by one CPU. If another CPU overwrites a buffer while it is read, its
/// sequence number changes; the reader compares the number before and after reading.
#[derive(Clone, Copy)]
struct Buffer(*mut BufferedFragment);

impl Buffer {
    #[inline(always)]
    fn of(sequence: u32) -> Option<Self> {
        BUFFERED
            .get_ptr_mut(sequence & (MAX_BUFFERED - 1))
            .map(Self)
    }

    /// Copies a packet of `length` bytes. `false` if it cannot be read.
    #[inline(always)]
    fn store(
        self,
        skb: &Skb,
        parsed: &Parsed,
        hook: Hook,
        sequence: u32,
        arrived: u64,
        length: u32,
    ) -> bool {
        // SAFETY: a map value, valid while the program runs.
        unsafe {
            (*self.0).sequence = sequence;
            (*self.0).arrived = arrived;
            (*self.0).length = length;
            set_key(&mut (*self.0).key, parsed, hook);
            helpers::load_bytes(skb, &raw mut (*self.0).bytes, length)
        }
    }

    /// Replaces the packet by the buffered one, if that has this sequence number, belongs to this datagram and did not arrive
    /// before `oldest` (coarse monotonic nanoseconds). Returns whether the packet was replaced.
    #[inline(always)]
    fn restore(
        self,
        skb: &mut Skb,
        l3: usize,
        sequence: u32,
        key: &FragmentKey,
        oldest: u64,
    ) -> bool {
        // SAFETY: as in `store`. The length is read once: another CPU may change it.
        unsafe {
            let length = (&raw const (*self.0).length).read_volatile();
            (*self.0).sequence == sequence
                && (*self.0).arrived >= oldest
                && (*self.0).key == *key
                && is_bufferable(length)
                && helpers::replace_packet(skb, l3, &raw const (*self.0).bytes, length)
                && (&raw const (*self.0).sequence).read_volatile() == sequence
        }
    }
}

#[inline(always)]
fn is_bufferable(length: u32) -> bool {
    length as usize <= BUFFER_BYTES && length > ETHERNET as u32
}

/// A value of the map `pending`. Several CPUs may use it.
#[derive(Clone, Copy)]
struct Pending(*mut PendingDatagram);

impl Pending {
    #[inline(always)]
    fn find(key: &FragmentKey) -> Option<Self> {
        PENDING.get_ptr_mut(key).map(Self)
    }

    /// The datagram with a key, which is inserted if it is missing.
    #[inline(always)]
    fn find_or_insert(key: &FragmentKey, new: &mut PendingDatagram, now: u64) -> Option<Self> {
        if let Some(found) = Self::find(key) {
            return Some(found);
        }
        new.first_seen = now;
        new.count = 0;
        // This fails if another CPU has inserted the datagram, or if the map is full; the lookup below distinguishes them.
        let _ = PENDING.insert(key, new, BPF_NOEXIST as u64);
        Self::find(key)
    }

    /// Adds a buffered fragment. `false` if the datagram has [`PENDING_SLOTS`] of them already.
    #[inline(always)]
    fn add(self, sequence: u32) -> bool {
        // SAFETY: a map value, valid while the program runs; the atomic addition gives each slot to one CPU.
        unsafe {
            let number = helpers::fetch_add_u32(&raw mut (*self.0).count, 1) as usize;
            let sequences = &mut (*self.0).sequences;
            let Some(slot) = sequences.get_mut(number) else {
                return false;
            };
            *slot = sequence;
        }
        true
    }

    #[inline(always)]
    fn copy_to(self, copy: &mut PendingDatagram) {
        // SAFETY: a map value, readable while the program runs.
        unsafe {
            copy.first_seen = (*self.0).first_seen;
            copy.count = (*self.0).count;
            let sequences = &(*self.0).sequences;
            for (to, from) in copy.sequences.iter_mut().zip(sequences) {
                *to = *from;
            }
        }
    }
}

/// Buffers a later fragment of a datagram whose first fragment has not arrived. `false` if there is no room, or if the first
/// fragment was not translated.
#[inline(never)]
pub fn buffer(context: &mut Context, hook: Hook) -> bool {
    let (skb, parsed) = (&context.skb, &*context.parsed);
    let scratch = &mut context.scratch.fragment;
    let length = skb.len() as u32;
    if !is_bufferable(length) {
        return false;
    }
    set_key(&mut scratch.key, parsed, hook);
    let now = helpers::now();
    if let Some(stored) = Stored::find(&scratch.key)
        && stored.is_untranslated(now, context.config.timers.fragment)
    {
        return false;
    }
    let Some(sequence) = Sequence::of(Cursor::Buffered).map(Sequence::take) else {
        return false;
    };
    let Some(buffer) = Buffer::of(sequence) else {
        return false;
    };
    if !buffer.store(skb, parsed, hook, sequence, now, length) {
        return false;
    }
    let Some(pending) = Pending::find_or_insert(&scratch.key, &mut scratch.pending, now) else {
        return false;
    };
    if !pending.add(sequence) {
        return false;
    }
    // Another CPU may have handled the first fragment before this one was buffered.
    if let Some(stored) = Stored::find(&scratch.key)
        && stored.is_translated_since(now)
    {
        helpers::clone_redirect(skb, hook);
    }
    true
}

/// Sends the packet, which is a first fragment with its network header at `l3`, and the buffered fragments of its datagram
/// through the hook again. `false` if no fragment is buffered or the packet could not be sent; the caller then continues
/// with the packet.
#[inline(always)]
pub(super) fn send_again(
    skb: &mut Skb,
    l3: usize,
    scratch: &mut FragmentScratch,
    hook: Hook,
    now: u64,
    limit: u64,
) -> bool {
    let Some(pending) = Pending::find(&scratch.key) else {
        return false;
    };
    pending.copy_to(&mut scratch.pending);
    // It may have been removed already.
    let _ = PENDING.remove(&scratch.key);
    if now.saturating_sub(scratch.pending.first_seen) > limit {
        return false;
    }
    let is_sent = helpers::clone_redirect(skb, hook);
    // At egress, a failure may also mean that the copy passed the program and was dropped after it.
    if !is_sent && hook != Hook::UplinkEgress {
        return false;
    }
    let count = if scratch.pending.count < PENDING_SLOTS as u32 {
        scratch.pending.count
    } else {
        PENDING_SLOTS as u32
    };
    let mut replay = Replay {
        skb,
        l3,
        scratch,
        oldest: now.saturating_sub(limit),
        hook,
    };
    repeat(count, &mut replay);
    true
}

struct Replay<'a> {
    skb: &'a mut Skb,
    /// Offset of the network header.
    l3: usize,
    scratch: &'a mut FragmentScratch,
    /// Coarse monotonic nanoseconds.
    oldest: u64,
    hook: Hook,
}

impl Step for Replay<'_> {
    /// Replaces the packet by a buffered one, and sends a copy of it through the hook.
    #[inline(always)]
    fn step(&mut self, number: u32) -> Continue {
        let Some(sequence) = self.scratch.pending.sequences.get(number as usize) else {
            return Continue::Yes;
        };
        let sequence = *sequence;
        if let Some(buffer) = Buffer::of(sequence)
            && buffer.restore(self.skb, self.l3, sequence, &self.scratch.key, self.oldest)
        {
            helpers::clone_redirect(self.skb, self.hook);
        }
        Continue::Yes
    }
}
