//! What happens to a packet at each hook.
//!
//! ```text
//! uplink ingress    flow? ─► translate ─► deliver      published port? ─► open ─► translate ─► deliver      else host
//! uplink egress     ours? ─► flow or open ─► translate the source                                           else host
//! endpoint ingress  own address? ─► whose is the destination? ─► sibling · hairpin · route out              else host
//! endpoint egress   from the host or the bridge? ─► pass                                                    else drop
//! ```

pub mod deliver;
pub mod endpoint;
pub mod error;
pub mod fragment;
pub mod guard;
pub mod route;
pub mod uplink;

use netpath_common::{
    flow::{Half, REWRITE_DST, REWRITE_SRC, TCP},
    reason::Reason,
};

use crate::{
    packet::{Packet, skb::Skb},
    parse::{self, ETHERNET, Parsed, Piece},
    rewrite,
};

/// Parses a packet, after making its headers linear if need be.
#[inline(always)]
fn parse_skb(skb: &mut Skb, parsed: &mut Parsed) -> Result<(), Reason> {
    match parse_once(skb, parsed) {
        Err(Reason::Malformed) if skb.linearize() => parse_once(skb, parsed),
        result => result,
    }
}

#[inline(never)]
fn parse_once(skb: &Skb, parsed: &mut Parsed) -> Result<(), Reason> {
    parse::parse(skb, parsed)
}

/// Gives a packet the translation of its half, and the identification `id` if it is a first fragment. `false` if it cannot
/// be written.
#[inline(always)]
fn translate(skb: &mut Skb, parsed: &Parsed, half: *const Half, id: u32) -> bool {
    // SAFETY: a map value, alive while the program runs; `to` and `flags` never change.
    let (to, flags) = unsafe { (&(*half).to, (*half).flags) };
    flags & (REWRITE_SRC | REWRITE_DST) == 0
        || ((parsed.piece != Piece::First || rewrite::set_fragment_id(skb, parsed, id).is_some())
            && rewrite::translate(skb, parsed, to, flags).is_some())
}

/// Bytes of the packet on the wire without its frame; of each of them, if the device is to make several.
#[inline(always)]
fn wire_length(skb: &Skb, parsed: &Parsed) -> usize {
    let payload = skb.segment_size();
    if payload == 0 {
        return skb.len().saturating_sub(ETHERNET);
    }
    let header = match parsed.key.protocol {
        TCP => match skb.header::<u8>(parsed.l4 + TCP_DATA_OFFSET) {
            Some(offset) => (*offset >> 4) as usize * 4,
            None => 0,
        },
        _ => UDP_HEADER,
    };
    parsed.l4.saturating_sub(ETHERNET) + header + payload
}

/// Offset of the length of a TCP header, in words, in the upper half of a byte (RFC 9293 §3.1).
const TCP_DATA_OFFSET: usize = 12;
const UDP_HEADER: usize = 8;
