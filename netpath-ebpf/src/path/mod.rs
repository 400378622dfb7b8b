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
pub mod guard;
pub mod route;
pub mod uplink;

use netpath_common::reason::Reason;

use crate::{
    packet::skb::Skb,
    parse::{self, Parsed},
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
