//! The only writer of network and transport headers.
//!
//! Old values come from the parsed tuple, new ones from the flow; all plain fields are written first and the transport
//! checksum is corrected last, because correcting it may move the packet.

use netpath_common::{
    addr::{Addr, MacAddr},
    checksum::Diff,
    flow::{FlowKey, ICMP, ICMPV6, REWRITE_DST, REWRITE_SRC, UDP},
};

use crate::{
    packet::{Covers, Packet},
    parse::{ETHERNET, Parsed},
};

const V4_TTL: usize = ETHERNET + 8;
const V4_CHECKSUM: usize = 10;
const V4_SOURCE: usize = 12;
const V4_DESTINATION: usize = 16;
const V6_HOP_LIMIT: usize = ETHERNET + 7;
const V6_SOURCE: usize = 8;
const V6_DESTINATION: usize = 24;
const ECHO_IDENTIFIER: usize = 4;

/// Gives the packet the tuple `to`; `flags` says which ends differ. `None` if the packet cannot be written.
#[inline(always)]
pub fn translate<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    to: &FlowKey,
    flags: u8,
) -> Option<()> {
    let from = &parsed.key;
    let addresses = write_addresses(packet, parsed, ETHERNET, to, flags)?;
    let ports = write_ports(packet, parsed, to, flags)?;
    let udp = from.protocol == UDP;
    let checksum = parsed.checksum_offset();
    // ICMPv4 has no pseudo-header (RFC 792).
    if from.protocol != ICMP {
        packet.update_checksum(checksum, addresses, pseudo_header(parsed.v4), udp)?;
    }
    if ports.folded() != 0 {
        packet.update_checksum(checksum, ports, Covers::Payload, udp)?;
    }
    Some(())
}

/// Gives a fragment that has no transport header the addresses of `to`, and its datagram's new identification.
#[inline(always)]
pub fn translate_fragment<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    to: &FlowKey,
    flags: u8,
    id: u32,
) -> Option<()> {
    write_addresses(packet, parsed, ETHERNET, to, flags)?;
    set_fragment_id(packet, parsed, id)
}

/// Writes the identification that the fragments of a datagram share (RFC 791 §3.2, RFC 8200 §4.5). In host byte order;
/// IPv4 takes its lower half.
#[inline(always)]
pub fn set_fragment_id<P: Packet>(packet: &mut P, parsed: &Parsed, id: u32) -> Option<()> {
    if !parsed.v4 {
        *packet.header_mut::<[u8; 4]>(parsed.id_offset)? = id.to_be_bytes();
        return Some(());
    }
    let field = packet.header_mut::<[u8; 2]>(parsed.id_offset)?;
    let old = u16::from_ne_bytes(*field);
    *field = (id as u16).to_be_bytes();
    let new = u16::from_ne_bytes(*field);
    update_v4_checksum(packet, ETHERNET, Diff::none().half(old, new))
}

/// Translates an ICMP error outside and inside (RFC 5508 §4.2, §4.3): the packet it quotes gets the tuple it had when its
/// sender sent it, the error goes to that sender, and comes from whom the sender knows.
///
/// `to` is the translation of packets that answer the quoted one: the quote is its reverse. `ends` says which ends of
/// the error itself change.
///
/// The quoted transport checksum is corrected if it was quoted, and never looked at (RFC 5508 REQ-3). What stands
/// behind the quoted transport header is left alone.
#[inline(always)]
pub fn translate_error<P: Packet>(
    packet: &mut P,
    error: &Parsed,
    quote: &Parsed,
    to: &FlowKey,
    ends: u8,
) -> Option<()> {
    let quoted = to.reversed();
    let addresses = write_addresses(packet, quote, quote.l3, &quoted, REWRITE_SRC | REWRITE_DST)?;
    let mut changes = write_ports(packet, quote, &quoted, REWRITE_SRC | REWRITE_DST)?;
    let mut covered = changes;
    if quote.key.protocol != ICMP {
        covered = covered.and(addresses);
    }
    // Between the addresses of an IPv4 header and its checksum the sum is unchanged.
    if !quote.v4 {
        changes = changes.and(addresses);
    }
    let checksum = quote.checksum_offset();
    if checksum + 2 <= quote.end {
        let udp = quote.key.protocol == UDP;
        // A header that is not all in this packet's linear part is not all there.
        if let Some(field) = packet.header_mut::<[u8; 2]>(checksum) {
            let old = u16::from_ne_bytes(*field);
            let mut new = covered.apply(old);
            if udp && old == 0 {
                new = 0;
            } else if udp && new == 0 {
                new = 0xffff;
            }
            *field = new.to_ne_bytes();
            changes = changes.half(old, new);
        }
    }
    let outside = write_addresses(packet, error, ETHERNET, to, ends)?;
    let checksum = error.checksum_offset();
    if !error.v4 {
        packet.update_checksum(checksum, outside, pseudo_header(false), false)?;
    }
    packet.update_checksum(checksum, changes, Covers::Payload, false)
}

#[inline(always)]
fn pseudo_header(v4: bool) -> Covers {
    if v4 {
        Covers::PseudoV4
    } else {
        Covers::PseudoV6
    }
}

/// Writes the addresses of a network header at `l3`, and an IPv4 header's checksum; gives their difference.
#[inline(always)]
fn write_addresses<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    l3: usize,
    to: &FlowKey,
    flags: u8,
) -> Option<Diff> {
    let (source, destination) = if parsed.v4 {
        (l3 + V4_SOURCE, l3 + V4_DESTINATION)
    } else {
        (l3 + V6_SOURCE, l3 + V6_DESTINATION)
    };
    let from = &parsed.key;
    let mut diff = Diff::none();
    if flags & REWRITE_SRC != 0 {
        diff = write_address(packet, parsed.v4, source, from.src, to.src, diff)?;
    }
    if flags & REWRITE_DST != 0 {
        diff = write_address(packet, parsed.v4, destination, from.dst, to.dst, diff)?;
    }
    if parsed.v4 {
        update_v4_checksum(packet, l3, diff)?;
    }
    Some(diff)
}

/// Changes the checksum of an IPv4 header at `l3`.
#[inline(always)]
fn update_v4_checksum<P: Packet>(packet: &mut P, l3: usize, diff: Diff) -> Option<()> {
    let checksum = packet.header_mut::<[u8; 2]>(l3 + V4_CHECKSUM)?;
    *checksum = diff.apply(u16::from_ne_bytes(*checksum)).to_ne_bytes();
    Some(())
}

/// Writes the ports, or the identifier of an echo; gives their difference.
#[inline(always)]
fn write_ports<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    to: &FlowKey,
    flags: u8,
) -> Option<Diff> {
    let from = &parsed.key;
    let mut diff = Diff::none();
    if flags & REWRITE_SRC != 0 && from.sport != to.sport {
        diff = write_port(packet, parsed, 0, from.sport.raw(), to.sport.raw(), diff)?;
    }
    if flags & REWRITE_DST != 0 && from.dport != to.dport {
        diff = write_port(packet, parsed, 2, from.dport.raw(), to.dport.raw(), diff)?;
    }
    Some(diff)
}

/// Takes one from TTL or hop limit (RFC 1812 §5.3.1). The caller has seen that more than one is left.
#[inline(always)]
pub fn decrement_ttl<P: Packet>(packet: &mut P, parsed: &Parsed) -> Option<()> {
    if !parsed.v4 {
        let hop_limit = packet.header_mut::<u8>(V6_HOP_LIMIT)?;
        *hop_limit = parsed.ttl.wrapping_sub(1);
        return Some(());
    }
    let word = packet.header_mut::<[u8; 2]>(V4_TTL)?;
    let old = u16::from_ne_bytes(*word);
    word[0] = parsed.ttl.wrapping_sub(1);
    let new = u16::from_ne_bytes(*word);
    update_v4_checksum(packet, ETHERNET, Diff::none().half(old, new))
}

/// Writes both addresses of the Ethernet header.
#[inline(always)]
pub fn set_macs<P: Packet>(packet: &mut P, destination: &MacAddr, source: &MacAddr) -> Option<()> {
    let macs = packet.header_mut::<[u8; 12]>(0)?;
    let [a, b, c, d, e, f] = destination.0;
    let [g, h, i, j, k, l] = source.0;
    *macs = [a, b, c, d, e, f, g, h, i, j, k, l];
    Some(())
}

#[inline(always)]
fn write_address<P: Packet>(
    packet: &mut P,
    v4: bool,
    offset: usize,
    old: Addr,
    new: Addr,
    diff: Diff,
) -> Option<Diff> {
    if v4 {
        *packet.header_mut::<[u8; 4]>(offset)? = new.raw_v4().to_ne_bytes();
        return Some(diff.word(old.raw_v4(), new.raw_v4()));
    }
    *packet.header_mut::<[u8; 16]>(offset)? = new.octets();
    let [a, b, c, d] = old.raw_words();
    let [e, f, g, h] = new.raw_words();
    Some(diff.word(a, e).word(b, f).word(c, g).word(d, h))
}

/// Writes a port, or the identifier of an echo, which has one place for both directions.
#[inline(always)]
fn write_port<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    offset: usize,
    old: u16,
    new: u16,
    diff: Diff,
) -> Option<Diff> {
    let offset = match parsed.key.protocol {
        ICMP | ICMPV6 => ECHO_IDENTIFIER,
        _ => offset,
    };
    *packet.header_mut::<[u8; 2]>(parsed.l4 + offset)? = new.to_ne_bytes();
    Some(diff.half(old, new))
}

#[cfg(test)]
mod tests;
