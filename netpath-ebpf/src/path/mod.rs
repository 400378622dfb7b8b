//! The decision about a packet at each hook: published port, forward, host or drop.
//!
//! ```text
//! uplink ingress    tunnel packet? ─► remove its headers ─► deliver
//!                   flow? ─► deliver      classify ─► published port? ─► open ─► deliver       else host or drop
//! uplink egress     translated? ─► pass    source of a sandbox? ─► flow, or open one ─► translate  else pass or drop
//! endpoint ingress  guard ─► sandbox on another node? ─► tunnel packet
//!                   flow? ─► deliver, or translate and forward
//!                            classify ─► sandbox, host: published port? ─► deliver
//!                                        outside: open ─► translate and forward                else host or drop
//! endpoint egress   from the host, an endpoint of the network, or translated at an uplink? ARP? ─► pass   else drop
//! ```
//!
//! | file | decides |
//! |---|---|
//! | `uplink`, `endpoint` | the order of the checks at each hook |
//! | `guard` | what a sandbox may send |
//! | `neighbour` | ARP and neighbour discovery from a sandbox: answered, passed or dropped |
//! | `link_address` | the owner of a link-local address |
//! | `destination` | the class of a destination address |
//! | `local` | packets to an address of the node or of a sandbox: flow, published port, host or drop |
//! | `forward` | packets from a sandbox to the outside |
//! | `forwarded` | packets that a sandbox forwards for others |
//! | `deliver` | delivery to a sandbox: redirect, or pass to the stack |
//! | `deny` | the deny list of the node |
//! | `overlay` | packets of overlay networks between nodes |
//! | `too_big` | packets that the route to another node does not take |
//! | `rate` | packets of an endpoint with a rate |
//! | `icmp_error` | ICMP errors about translated packets |
//! | `renumber` | another port for a connection of the node |

mod deliver;
mod deny;
mod destination;
pub mod endpoint;
mod forward;
mod forwarded;
mod guard;
mod icmp_error;
mod link_address;
mod local;
mod neighbour;
mod overlay;
mod rate;
mod renumber;
#[cfg(test)]
mod tests;
mod too_big;
pub mod uplink;

use netpath_common::{flow::TCP, hook::LinkHeader, reason::Reason};

use crate::{
    conntrack::Entry,
    context::Context,
    packet::{Packet, skb::Skb},
    parse::{self, ETHERNET, FragmentPosition, Parsed, UDP_HEADER},
    rewrite,
    stage::stage,
};

/// Parses a packet with an Ethernet header, after making its headers linear if necessary.
#[inline(always)]
fn parse_packet(context: &mut Context) -> Result<(), Reason> {
    parse_headers(&mut context.skb, context.parsed)
}

/// Parses a received packet. Priority tags are removed before, as the stack does: a frame with VLAN identifier 0 belongs to no
/// VLAN (IEEE 802.1Q).
///
/// # Errors
/// [`Reason::NotOurs`] if the frame belongs to a VLAN, [`Reason::Tagged`] if it has too many tags, or an error of
/// [`parse_packet`].
#[inline(always)]
fn parse_received(context: &mut Context, header: LinkHeader) -> Result<(), Reason> {
    if header == LinkHeader::None {
        return parse_from(context, header);
    }
    if !context.skb.is_tagged() {
        let result = parse_packet(context);
        if context.parsed.l3 == ETHERNET {
            return result;
        }
    }
    remove_priority_tags(context)?;
    parse_packet(context)
}

/// Most priority tags that are removed.
const MAX_PRIORITY_TAGS: usize = 2;

stage! {
    fn remove_priority_tags(context: &mut Context) -> Result<(), Reason> {
        let skb = &mut context.skb;
        for _ in 0..MAX_PRIORITY_TAGS {
            match skb.vlan().or_else(|| parse::vlan_in_packet(skb)) {
                Some(0) if skb.remove_tag() => {}
                Some(0) => return Err(Reason::WriteFailed),
                Some(_) => return Err(Reason::NotOurs),
                None => return Ok(()),
            }
        }
        if skb.is_tagged() { Err(Reason::Tagged) } else { Ok(()) }
    }
}

/// Parses a packet with this link header, after making its headers linear if necessary.
#[inline(always)]
fn parse_from(context: &mut Context, header: LinkHeader) -> Result<(), Reason> {
    match header {
        LinkHeader::Ethernet => parse_packet(context),
        LinkHeader::None => parse_headers_without_link(&mut context.skb, context.parsed),
    }
}

stage! {
    fn parse_headers(skb: &mut Skb, parsed: &mut Parsed) -> Result<(), Reason> {
        match parse::parse(skb, parsed) {
            Err(Reason::Malformed) if skb.linearize() => parse::parse(skb, parsed),
            result => result,
        }
    }
}

stage! {
    fn parse_headers_without_link(skb: &mut Skb, parsed: &mut Parsed) -> Result<(), Reason> {
        let ethertype = skb.ethertype();
        match parse::parse_at(skb, 0, ethertype, parsed) {
            Err(Reason::Malformed) if skb.linearize() => parse::parse_at(skb, 0, ethertype, parsed),
            result => result,
        }
    }
}

/// Translates a packet by its entry. A first fragment also gets the identification `id`. `false` if the packet cannot
/// be written.
#[inline(always)]
fn translate(context: &mut Context, entry: Entry, id: u32) -> bool {
    let (skb, parsed) = (&mut context.skb, &*context.parsed);
    !entry.is_translated()
        || ((parsed.fragment.position != FragmentPosition::First
            || rewrite::set_fragment_id(skb, parsed, id).is_some())
            && rewrite::translate(skb, parsed, entry.to(), entry.flags()).is_some())
}

/// Bytes of the packet on the wire, from its network header on; for a GSO packet, bytes of one segment.
#[inline(always)]
fn wire_length(skb: &Skb, parsed: &Parsed) -> usize {
    let payload = skb.segment_size();
    if payload == 0 {
        return skb.len().saturating_sub(parsed.l3);
    }
    let header = match parsed.key.protocol {
        TCP => match skb.header::<u8>(parsed.l3 + parsed.l4 + TCP_DATA_OFFSET) {
            Some(offset) => (*offset >> 4) as usize * 4,
            None => 0,
        },
        _ => UDP_HEADER,
    };
    parsed.l4 + header + payload
}

/// Offset of the byte whose upper half is the length of a TCP header in words (RFC 9293 §3.1).
const TCP_DATA_OFFSET: usize = 12;
