//! New flows: the insertion of both entries.

use netpath_common::{
    flow::{BOTH_LOCAL, DELIVER, FlowKey, Kind, ORIGINAL, REPLY, REWRITE_DST, REWRITE_SRC},
    maps::Endpoint,
};

use super::{
    Entry, accounting, entry::InsertError, half_open, lifetime::has_expired, lifetime::remove,
    lookup::seen_in,
};
use crate::{context::Context, helpers};

/// A flow to be created. Its tuple after translation is in [`NewFlow::to`](crate::context::NewFlow::to).
#[repr(align(8))]
pub struct Opening {
    /// Local end of the original direction.
    pub original: LocalEnd,
    /// Local end of the reply direction.
    pub reply: LocalEnd,
    /// How it is translated.
    pub kind: Kind,
    /// Which source ports it may have.
    pub source: SourcePort,
}

/// Which source ports a new flow may have after translation.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SourcePort {
    /// Only the one of the packet.
    Keep,
    /// The one of the packet if its reply tuple is free, otherwise one that SNAT may use.
    Prefer,
    /// One that SNAT may use; the one of the packet first.
    Choose,
}

/// The local endpoint of one direction.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct LocalEnd {
    pub(super) slot: u32,
    pub(super) generation: u32,
    deliver: u32,
}

impl LocalEnd {
    /// Packets are delivered to the sandbox.
    #[inline(always)]
    pub fn receiver(slot: u32, endpoint: &Endpoint) -> Self {
        Self {
            slot,
            generation: endpoint.generation,
            deliver: DELIVER as u32,
        }
    }

    /// Packets leave the node.
    #[inline(always)]
    pub fn sender(slot: u32, endpoint: &Endpoint) -> Self {
        Self {
            slot,
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
    /// The table is full.
    Full,
}

/// Inserts both entries, the reply entry first.
///
/// If another CPU has created the same flow, that one is used.
#[inline(always)]
pub fn create(opening: &Opening, context: &mut Context) -> Result<(), Refused> {
    let Context {
        config,
        parsed,
        scratch,
        ..
    } = context;
    let (from, flow) = (&parsed.key, &mut scratch.flow);
    let (flags, reply_flags) = flags_of(opening, from, &flow.to);
    let entry = &mut flow.entry;
    entry.last_seen = helpers::now();
    entry.created = entry.last_seen;
    (entry.packets, entry.bytes) = (0, 0);
    entry.kind = opening.kind as u8;
    entry.pad = 0;
    flow.reply_key.copy_reversed(&flow.to);

    entry.to.copy_reversed(from);
    entry.endpoint = opening.reply.slot;
    entry.generation = opening.reply.generation;
    entry.role = REPLY;
    entry.seen = 0;
    entry.flags = reply_flags;
    match Entry::insert(&flow.reply_key, entry) {
        Ok(()) => {}
        Err(InsertError::Full) => return Err(Refused::Full),
        Err(InsertError::Exists) => {
            if !has_expired(&flow.reply_key, config, entry.created) {
                // Another CPU may have created the same flow.
                return match Entry::find(from) {
                    Some(other) if *other.to() == flow.to => Ok(()),
                    _ => Err(Refused::Taken),
                };
            }
            remove(&flow.reply_key);
            if Entry::insert(&flow.reply_key, entry).is_err() {
                return Err(Refused::Taken);
            }
        }
    }
    accounting::add_reply(entry);

    entry.to.copy_from(&flow.to);
    entry.endpoint = opening.original.slot;
    entry.generation = opening.original.generation;
    entry.role = ORIGINAL;
    entry.seen = seen_in(parsed);
    entry.flags = flags;
    if let Err(error) = Entry::insert(from, entry) {
        if let Some(reply) = Entry::find(&flow.reply_key) {
            accounting::remove_entry(&flow.reply_key, reply);
        }
        return match error {
            InsertError::Exists => Ok(()),
            InsertError::Full => Err(Refused::Full),
        };
    }
    half_open::enter(from, config, entry.created, &mut flow.evicted);
    Ok(())
}

/// [`FlowEntry::flags`](netpath_common::flow::FlowEntry::flags) of the original and of the reply entry.
#[inline(always)]
fn flags_of(opening: &Opening, from: &FlowKey, to: &FlowKey) -> (u8, u8) {
    let mut flags = opening.original.deliver as u8;
    let mut reply_flags = opening.reply.deliver as u8;
    if flags & reply_flags & DELIVER != 0 {
        flags |= BOTH_LOCAL;
        reply_flags |= BOTH_LOCAL;
    }
    if from.src != to.src || from.sport != to.sport {
        flags |= REWRITE_SRC;
        reply_flags |= REWRITE_DST;
    }
    if from.dst != to.dst || from.dport != to.dport {
        flags |= REWRITE_DST;
        reply_flags |= REWRITE_SRC;
    }
    (flags, reply_flags)
}
