//! New flows: the claim of both tuples.

use netpath_common::{
    flow::{DELIVER, INSIDE, Kind, ORIGINAL, REPLY, REWRITE_DST, REWRITE_SRC},
    maps::Endpoint,
};

use super::{is_over, keys, now, quota, remove, rings, seen};
use crate::{
    maps::{self, Scratch},
    parse::Parsed,
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
    pub(super) endpoint: u32,
    pub(super) generation: u32,
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
    keys::set_reversed(&mut scratch.reply_key, &scratch.to);

    keys::set_reversed(&mut half.to, from);
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
    quota::charge(half);

    keys::set(&mut half.to, &scratch.to);
    half.endpoint = opening.original.endpoint;
    half.generation = opening.original.generation;
    half.role = ORIGINAL;
    half.seen = seen(parsed);
    half.flags = flags;
    if let Err(error) = maps::claim_flow(from, half) {
        if let Some(reply) = maps::flow(&scratch.reply_key) {
            // SAFETY: the map's value under that key, inserted above.
            unsafe { quota::remove_half(&scratch.reply_key, reply) };
        }
        return if error == EEXIST {
            Ok(())
        } else {
            Err(Refused::Full)
        };
    }
    rings::enter(from, config, half.created, &mut scratch.old);
    Ok(())
}
