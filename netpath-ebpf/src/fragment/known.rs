//! Datagrams whose first fragment was seen.

use netpath_common::{
    flow::{REWRITE_DST, REWRITE_SRC},
    hook::Hook,
    maps::{Endpoint, FragmentKey, KnownDatagram},
    reason::Reason,
};

use super::{buffered, id::new_id, payload_length, set_key};
use crate::{
    conntrack::Entry,
    context::Context,
    helpers,
    maps::{self, FRAGMENTS},
    parse::{FragmentPosition, Parsed},
    rewrite,
};

/// Slot of no endpoint: the datagram is not translated.
pub(super) const NO_ENDPOINT: u32 = 0;

/// The translation of a later fragment's datagram. Its tuple is in [`super::Scratch`].
pub struct Known {
    /// The local endpoint: receiver or sender.
    pub endpoint: &'static Endpoint,
    /// As [`netpath_common::flow::FlowEntry::flags`].
    pub flags: u8,
    id: u32,
}

impl Known {
    /// Translates a fragment. `false` if it cannot be written.
    #[inline(always)]
    pub fn translate(&self, context: &mut Context<'_>) -> bool {
        let (skb, parsed) = (&mut *context.skb, &*context.parsed);
        let to = &context.scratch.fragment.known.to;
        self.flags & (REWRITE_SRC | REWRITE_DST) == 0
            || rewrite::translate_fragment(skb, parsed, to, self.flags, self.id).is_some()
    }
}

/// A value of the map `fragments`. Several CPUs may use it; the table may give its memory to another datagram at any time,
/// so values are copied before they are used.
#[derive(Clone, Copy)]
pub(super) struct Stored(*mut KnownDatagram);

impl Stored {
    #[inline(always)]
    pub(super) fn find(key: &FragmentKey) -> Option<Self> {
        FRAGMENTS.get_ptr_mut(key).map(Self)
    }

    #[inline(always)]
    fn value(self) -> &'static KnownDatagram {
        // SAFETY: a map value, readable while the program runs.
        unsafe { &*self.0 }
    }

    /// Whether the first fragment of an untranslated datagram passed within `limit` nanoseconds before `now`.
    #[inline(always)]
    pub(super) fn is_untranslated(self, now: u64, limit: u64) -> bool {
        let value = self.value();
        let (endpoint, last_seen) = (value.endpoint, value.last_seen);
        endpoint == NO_ENDPOINT && now.saturating_sub(last_seen) <= limit
    }

    /// Whether the first fragment of a translated datagram passed at `time` or later.
    #[inline(always)]
    pub(super) fn is_translated_since(self, time: u64) -> bool {
        let value = self.value();
        value.last_seen >= time && maps::live_endpoint(value.endpoint, value.generation).is_some()
    }

    /// Counts the bytes of a fragment; whether all bytes of the datagram have passed.
    #[inline(always)]
    fn add_bytes(self, parsed: &Parsed) -> bool {
        let length = payload_length(parsed);
        // SAFETY: as in `value`; an atomic addition and a single store.
        unsafe {
            let bytes = helpers::fetch_add_u32(&raw mut (*self.0).bytes, length);
            if parsed.fragment.is_last {
                (*self.0).total = parsed.fragment.datagram_offset.wrapping_add(length);
            }
            let total = (*self.0).total;
            total != 0 && bytes.wrapping_add(length) >= total
        }
    }
}

/// The identification that a packet of a flow gets. If the packet is a first fragment, its translation is stored for the later
/// ones.
///
/// # Errors
/// The reason why the packet ends here: it was sent through this hook again, with the fragments that were buffered.
#[inline(always)]
pub fn note_first(context: &mut Context<'_>, entry: Entry, hook: Hook) -> Result<u32, Reason> {
    if context.parsed.fragment.position != FragmentPosition::First {
        return Ok(context.parsed.fragment.id);
    }
    store_first(context, entry, hook).ok_or(Reason::FragmentsReplayed)
}

/// Stores the translation of a datagram; `None` if its fragments were sent through the hook again.
#[inline(never)]
fn store_first(context: &mut Context<'_>, entry: Entry, hook: Hook) -> Option<u32> {
    let Context {
        skb,
        config,
        parsed,
        scratch,
    } = context;
    let scratch = &mut scratch.fragment;
    set_key(&mut scratch.key, parsed, hook);
    let now = helpers::now();
    let limit = config.timers.fragment;
    let known = &mut scratch.known;
    known.to.copy_from(entry.to());
    (known.endpoint, known.generation) = entry.slot();
    known.flags = entry.flags();
    known.last_seen = now;
    known.bytes = payload_length(parsed);
    known.total = 0;
    known.id = if known.flags & (REWRITE_SRC | REWRITE_DST) == 0 {
        parsed.fragment.id
    } else {
        // A first fragment that arrives again, or is sent through the hook again, must keep the identification of the later
        // fragments that have passed.
        match stored_id(&scratch.key, known, limit) {
            Some(id) => id,
            None => new_id(parsed, config.fragment_key),
        }
    };
    let id = known.id;
    store(&scratch.key, known);
    if buffered::send_again(skb, scratch, hook, now, limit) {
        None
    } else {
        Some(id)
    }
}

/// The identification of a datagram whose first fragment has passed already, with the same translation.
#[inline(always)]
fn stored_id(key: &FragmentKey, known: &KnownDatagram, limit: u64) -> Option<u32> {
    let found = Stored::find(key)?.value();
    let is_same = found.to == known.to
        && found.endpoint == known.endpoint
        && found.generation == known.generation
        && known.last_seen.saturating_sub(found.last_seen) <= limit;
    is_same.then_some(found.id)
}

#[inline(always)]
fn store(key: &FragmentKey, known: &KnownDatagram) {
    // The only error is that other CPUs are changing every entry of the LRU table at this moment; then the later fragments are
    // buffered until they are overwritten.
    let _ = FRAGMENTS.insert(key, known, 0);
}

/// Stores that a datagram is not translated, so that its later fragments need not be buffered.
#[inline(never)]
pub fn mark_untranslated(context: &mut Context<'_>, hook: Hook) {
    let scratch = &mut context.scratch.fragment;
    let parsed = &*context.parsed;
    set_key(&mut scratch.key, parsed, hook);
    let known = &mut scratch.known;
    known.to.copy_from(&parsed.key);
    known.last_seen = helpers::now();
    known.bytes = 0;
    known.total = 0;
    known.id = parsed.fragment.id;
    known.endpoint = NO_ENDPOINT;
    known.generation = 0;
    known.flags = 0;
    store(&scratch.key, known);
}

/// The translation of a later fragment's datagram; `None` if its first fragment has not arrived.
#[inline(always)]
pub fn find(context: &mut Context<'_>, hook: Hook) -> Option<Known> {
    let scratch = &mut context.scratch.fragment;
    let parsed = &*context.parsed;
    set_key(&mut scratch.key, parsed, hook);
    let stored = Stored::find(&scratch.key)?;
    let found = stored.value();
    if helpers::now().saturating_sub(found.last_seen) > context.config.timers.fragment {
        return None;
    }
    scratch.known.to.copy_from(&found.to);
    let (id, flags) = (found.id, found.flags);
    let endpoint = maps::live_endpoint(found.endpoint, found.generation)?;
    if stored.add_bytes(parsed) {
        // The sender may use the identification for its next datagram. Absence is success.
        let _ = FRAGMENTS.remove(&scratch.key);
    }
    Some(Known {
        endpoint,
        flags,
        id,
    })
}
