//! Fragments of translated datagrams.
//!
//! Only the first fragment has ports. When it passes, the translation of its flow is stored in the map `fragments`. The key
//! consists of the addresses and the identification, which all fragments of a datagram have in common. Later fragments get
//! the same translation (`known`).
//!
//! A later fragment that arrives before the first one is copied to a ring of buffers, and its datagram is entered in the map
//! `pending` (`buffered`). When the first fragment arrives, it and the buffered ones are sent through the same hook again,
//! where all of them find the stored translation. The maps and the ring have fixed sizes and are separate: a flood of later
//! fragments without a first one displaces only such fragments (RFC 4787 REQ-14).
//!
//! Two senders may use the same identification for one receiver. After translation both have the same source address, so
//! the receiver would mix their fragments. Therefore each translated datagram gets a new identification (`id`).

mod buffered;
mod id;
mod known;
mod stored;

use netpath_common::{addr::Family, hook::Hook, maps::FragmentKey};

pub use self::{
    buffered::buffer,
    known::{Known, find, mark_untranslated, note_first, source_of_reply},
};
use crate::parse::Parsed;

/// Sets the key of a fragment's datagram.
#[inline(always)]
fn set_key(key: &mut FragmentKey, parsed: &Parsed, hook: Hook) {
    key.src = parsed.key.src;
    key.dst = parsed.key.dst;
    key.id = parsed.fragment.id;
    // The fragments of one IPv6 datagram may differ in the next header (RFC 8200 §4.5).
    key.protocol = match parsed.family {
        Family::V4 => parsed.key.protocol,
        Family::V6 => 0,
    };
    key.hook = hook as u8;
    key.pad2 = 0;
}

/// Bytes of the datagram that a fragment carries.
#[inline(always)]
fn payload_length(parsed: &Parsed) -> u32 {
    parsed.end.saturating_sub(parsed.fragment.payload) as u32
}
