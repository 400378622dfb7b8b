//! Datagrams whose first fragment was seen.

use netpath_common::{
    addr::Addr,
    flow::{REWRITE_DST, REWRITE_SRC},
    hook::Hook,
    maps::{Endpoint, FragmentKey, KnownDatagram, OF_REPLY},
    reason::Reason,
};

use super::{
    buffered,
    id::new_id,
    payload_length, set_key,
    stored::{NO_ENDPOINT, Stored},
};
use crate::{
    conntrack::Entry,
    context::Context,
    helpers,
    maps::{self, FRAGMENTS},
    parse::FragmentPosition,
    rewrite,
    stage::stage,
};

/// The translation of a datagram. Its tuple is in [`FragmentScratch`](crate::context::FragmentScratch).
pub struct Known {
    /// The local endpoint, which receives or sends the datagram.
    pub endpoint: &'static Endpoint,
    /// As [`netpath_common::flow::FlowEntry::flags`].
    pub flags: u8,
    id: u32,
}

impl Known {
    /// Translates a fragment. `false` if it cannot be written.
    #[inline(always)]
    pub fn translate(&self, context: &mut Context) -> bool {
        let (skb, parsed) = (&mut context.skb, &*context.parsed);
        let to = &context.scratch.fragment.known.to;
        self.flags & (REWRITE_SRC | REWRITE_DST) == 0
            || rewrite::translate_fragment(skb, parsed, to, self.flags, self.id).is_some()
    }
}

/// The identification that a packet of a flow gets. If the packet is a first fragment, its translation is stored for the
/// later fragments.
///
/// # Errors
/// The reason for the verdict, if the packet and the buffered fragments of its datagram were sent through the hook again.
#[inline(always)]
pub fn note_first(context: &mut Context, hook: Hook) -> Result<u32, Reason> {
    if context.parsed.fragment.position != FragmentPosition::First {
        return Ok(context.parsed.fragment.id);
    }
    store_first_fragment(context, hook).ok_or(Reason::FragmentsReplayed)
}

stage! {
    /// Stores the translation of a datagram; `None` if its fragments were sent through the hook again.
    fn store_first_fragment(context: &mut Context, hook: Hook) -> Option<u32> {
        match Entry::find(&context.parsed.key) {
            Some(entry) => store_first(context, entry, hook),
            // Another CPU has removed the flow.
            None => Some(context.parsed.fragment.id),
        }
    }
}

#[inline(always)]
fn store_first(context: &mut Context, entry: Entry, hook: Hook) -> Option<u32> {
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
    known.flags = entry.flags() | if entry.is_reply() { OF_REPLY } else { 0 };
    known.last_seen = now;
    known.bytes = payload_length(parsed);
    known.total = 0;
    known.id = if known.flags & (REWRITE_SRC | REWRITE_DST) == 0 {
        parsed.fragment.id
    } else {
        // A first fragment that is received twice, or sent through the hook again, must get the identification that later
        // fragments have got already.
        match stored_id(&scratch.key, known, limit) {
            Some(id) => id,
            None => new_id(parsed, config.fragment_key),
        }
    };
    let id = known.id;
    store(&scratch.key, known);
    if buffered::send_again(skb, parsed.l3, scratch, hook, now, limit) {
        None
    } else {
        Some(id)
    }
}

/// The new identification of a datagram whose first fragment has passed already with the same translation.
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
    // This fails only while other CPUs use every free element of the LRU map. The later fragments are then buffered and not
    // sent.
    let _ = FRAGMENTS.insert(key, known, 0);
}

/// Records that a datagram is not translated, so that its later fragments are not buffered.
#[inline(never)]
pub fn mark_untranslated(context: &mut Context, hook: Hook) {
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
pub fn find(context: &mut Context, hook: Hook) -> Option<Known> {
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
        // The sender may reuse the identification. Another CPU may have removed the entry already.
        let _ = FRAGMENTS.remove(&scratch.key);
    }
    Some(Known {
        endpoint,
        flags,
        id,
    })
}

/// The source address after translation, if a later fragment belongs to a reply. `None` if its first fragment has not arrived.
#[inline(always)]
pub fn source_of_reply(context: &mut Context, hook: Hook) -> Option<Addr> {
    let key = &mut context.scratch.fragment.key;
    set_key(key, context.parsed, hook);
    let stored = Stored::find(key)?.value();
    (stored.flags & OF_REPLY != 0).then_some(stored.to.src)
}
