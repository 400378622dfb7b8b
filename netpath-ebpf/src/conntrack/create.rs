//! New flows: the insertion of both entries.

use netpath_common::flow::{
    BOTH_LOCAL, COUNTED, DELIVER, FlowKey, ORIGINAL, REPLY, REWRITE_DST, REWRITE_SRC, TCP,
    UNCOUNTED, UNTRACKED,
};

use super::{
    Entry, accounting,
    entry::InsertError,
    lifetime::{has_expired, remove_flow},
    lookup::seen_in,
};
use crate::{
    context::{Context, Opening},
    helpers,
};

/// Why a flow was not created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another flow uses the reply tuple.
    Taken,
    /// The table is full.
    Full,
}

/// Inserts both entries of the flow in `scratch.flow`, the reply entry first. The caller calls
/// [`track`](super::track) afterwards.
///
/// If another CPU has created the same flow, its entries are used.
#[inline(always)]
pub fn create(context: &mut Context) -> Result<(), Refused> {
    let Context {
        parsed, scratch, ..
    } = context;
    let (from, flow) = (&parsed.key, &mut scratch.flow);
    let (opening, entry) = (&flow.opening, &mut flow.entry);
    let (flags, reply_flags) = flags_of(opening, from, &flow.to);
    entry.last_seen = helpers::now();
    entry.created = entry.last_seen;
    (entry.packets, entry.bytes) = (0, 0);
    entry.kind = opening.kind as u8;
    (entry.next_hop, entry.mtu, entry.decided) = (0, 0, 0);
    flow.reply_key.copy_reversed(&flow.to);

    entry.to.copy_reversed(from);
    entry.endpoint = opening.reply.slot;
    entry.generation = opening.reply.generation;
    entry.role = REPLY;
    entry.seen = 0;
    entry.flags = reply_flags;
    entry.bookkeeping = counted(from);
    match Entry::insert(&flow.reply_key, entry) {
        Ok(()) => {}
        Err(InsertError::Full) => return Err(Refused::Full),
        Err(InsertError::Exists) => {
            if !has_expired(&flow.reply_key, entry.created) {
                // Another CPU may have created the same flow.
                return match Entry::find(from) {
                    Some(other) if *other.to() == flow.to => Ok(()),
                    _ => Err(Refused::Taken),
                };
            }
            remove_flow(&flow.reply_key);
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
    entry.bookkeeping = UNTRACKED;
    if let Err(error) = Entry::insert(from, entry) {
        if let Some(reply) = Entry::find(&flow.reply_key) {
            accounting::remove_entry(&flow.reply_key, reply);
        }
        return match error {
            InsertError::Exists => Ok(()),
            InsertError::Full => Err(Refused::Full),
        };
    }
    Ok(())
}

/// [`FlowEntry::bookkeeping`](netpath_common::flow::FlowEntry::bookkeeping) of the reply entry of a new flow.
#[inline(always)]
fn counted(from: &FlowKey) -> u32 {
    if from.protocol == TCP {
        COUNTED
    } else {
        UNCOUNTED
    }
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
