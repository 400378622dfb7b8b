//! Changes of packet headers. No other module writes network and transport headers.
//!
//! The old values are in the parsed tuple, the new values in the flow. The transport checksum is updated after all other
//! fields, because its update may move the packet.

use netpath_common::{
    addr::{Addr, Family, MacAddr},
    checksum::Diff,
    flow::{FlowKey, ICMP, ICMPV6, REWRITE_DST, REWRITE_SRC, UDP},
};

use network_types::arp::ArpHdr;

use crate::{
    packet::{Covers, Packet},
    parse::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV6_NEIGHBOUR_ADVERTISEMENT, Parsed},
};

pub mod too_big;
pub mod tunnel;

const V4_TTL: usize = 8;
const V4_CHECKSUM: usize = 10;
const V4_SOURCE: usize = 12;
const V4_DESTINATION: usize = 16;
const V6_HOP_LIMIT: usize = 7;
const V6_SOURCE: usize = 8;
const V6_DESTINATION: usize = 24;
const ECHO_IDENTIFIER: usize = 4;
const ND_FLAGS: usize = 4;
const ND_OPTION: usize = 24;
/// Flags of a neighbour advertisement (RFC 4861 §4.4).
const ND_ROUTER: u8 = 0x80;
const ND_SOLICITED: u8 = 0x40;
const ND_OVERRIDE: u8 = 0x20;
/// Option: link address of the target (RFC 4861 §4.6.1).
const TARGET_LINK_ADDRESS: u8 = 2;

/// Writes the tuple `to`; `flags` (`REWRITE_*`) selects source, destination or both. `None` if the packet cannot be written.
#[inline(always)]
pub fn translate<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    to: &FlowKey,
    flags: u8,
) -> Option<()> {
    let from = &parsed.key;
    let addresses = write_addresses(packet, parsed, to, flags)?;
    let ports = write_ports(packet, parsed, to, flags)?;
    let udp = from.protocol == UDP;
    let checksum = parsed.checksum_offset();
    // ICMPv4 has no pseudo-header (RFC 792).
    if from.protocol != ICMP {
        packet.update_checksum(checksum, addresses, pseudo_header(parsed.family), udp)?;
    }
    if ports.folded() != 0 {
        packet.update_checksum(checksum, ports, Covers::Payload, udp)?;
    }
    Some(())
}

/// Writes the addresses of `to` and the datagram's new identification to a fragment without a transport header. `None` if
/// it cannot be written.
#[inline(always)]
pub fn translate_fragment<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    to: &FlowKey,
    flags: u8,
    id: u32,
) -> Option<()> {
    write_addresses(packet, parsed, to, flags)?;
    set_fragment_id(packet, parsed, id)
}

/// Writes the identification of a fragment (RFC 791 §3.2, RFC 8200 §4.5), given in host byte order; IPv4 uses its lower 16
/// bits. `None` if it cannot be written.
#[inline(always)]
pub fn set_fragment_id<P: Packet>(packet: &mut P, parsed: &Parsed, id: u32) -> Option<()> {
    let offset = parsed.l3 + parsed.fragment.id_offset;
    if parsed.family == Family::V6 {
        *packet.header_mut::<[u8; 4]>(offset)? = id.to_be_bytes();
        return Some(());
    }
    let field = packet.header_mut::<[u8; 2]>(offset)?;
    let old = u16::from_ne_bytes(*field);
    *field = (id as u16).to_be_bytes();
    let new = u16::from_ne_bytes(*field);
    update_v4_checksum(packet, parsed.l3, Diff::none().replace_u16(old, new))
}

/// Translates an ICMP error and its quote (RFC 5508 §4.2, §4.3). The quote gets the tuple that its packet had before
/// translation. The destination of the error becomes the sender of that packet.
///
/// `to` is the translation of packets in the direction opposite to the quoted packet; the quote gets `to` reversed. `ends`
/// (`REWRITE_*`) selects which addresses of the error itself change.
///
/// The transport checksum in the quote is updated if it is there, and never verified (RFC 5508 REQ-3). The bytes after the
/// quoted transport header do not change. `None` if the packet cannot be written.
#[inline(always)]
pub fn translate_error<P: Packet>(
    packet: &mut P,
    error: &Parsed,
    quote: &Parsed,
    to: &FlowKey,
    ends: u8,
) -> Option<()> {
    let quoted = to.reversed();
    let addresses = write_addresses(packet, quote, &quoted, REWRITE_SRC | REWRITE_DST)?;
    let mut changes = write_ports(packet, quote, &quoted, REWRITE_SRC | REWRITE_DST)?;
    let mut covered = changes;
    if quote.key.protocol != ICMP {
        covered = covered.and(addresses);
    }
    // In IPv4, the update of the quoted header checksum cancels the change of the quoted addresses.
    if quote.family == Family::V6 {
        changes = changes.and(addresses);
    }
    let checksum = quote.checksum_offset();
    if checksum + 2 <= quote.l3 + quote.end {
        let udp = quote.key.protocol == UDP;
        // The checksum may be missing, because a quote may be truncated.
        if let Some(field) = packet.header_mut::<[u8; 2]>(checksum) {
            let old = u16::from_ne_bytes(*field);
            let mut new = covered.apply(old);
            if udp && old == 0 {
                new = 0;
            } else if udp && new == 0 {
                new = 0xffff;
            }
            *field = new.to_ne_bytes();
            changes = changes.replace_u16(old, new);
        }
    }
    let outside = write_addresses(packet, error, to, ends)?;
    let checksum = error.checksum_offset();
    if error.family == Family::V6 {
        packet.update_checksum(checksum, outside, pseudo_header(Family::V6), false)?;
    }
    packet.update_checksum(checksum, changes, Covers::Payload, false)
}

#[inline(always)]
fn pseudo_header(family: Family) -> Covers {
    match family {
        Family::V4 => Covers::PseudoV4,
        Family::V6 => Covers::PseudoV6,
    }
}

/// Writes the addresses of the network header, and the checksum of an IPv4 header; returns the difference of the addresses.
#[inline(always)]
fn write_addresses<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    to: &FlowKey,
    flags: u8,
) -> Option<Diff> {
    let (family, l3) = (parsed.family, parsed.l3);
    let (source, destination) = match family {
        Family::V4 => (l3 + V4_SOURCE, l3 + V4_DESTINATION),
        Family::V6 => (l3 + V6_SOURCE, l3 + V6_DESTINATION),
    };
    let from = &parsed.key;
    let mut diff = Diff::none();
    if flags & REWRITE_SRC != 0 {
        diff = write_address(packet, family, source, from.src, to.src, diff)?;
    }
    if flags & REWRITE_DST != 0 {
        diff = write_address(packet, family, destination, from.dst, to.dst, diff)?;
    }
    if family == Family::V4 {
        update_v4_checksum(packet, l3, diff)?;
    }
    Some(diff)
}

/// Updates the checksum of the IPv4 header at `l3`.
#[inline(always)]
fn update_v4_checksum<P: Packet>(packet: &mut P, l3: usize, diff: Diff) -> Option<()> {
    let checksum = packet.header_mut::<[u8; 2]>(l3 + V4_CHECKSUM)?;
    *checksum = diff.apply(u16::from_ne_bytes(*checksum)).to_ne_bytes();
    Some(())
}

/// Writes the ports, or the identifier of an echo; returns their difference.
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

/// Decrements the TTL or hop limit (RFC 1812 §5.3.1), which must be greater than one. `None` if it cannot be written.
#[inline(always)]
pub fn decrement_ttl<P: Packet>(packet: &mut P, parsed: &Parsed) -> Option<()> {
    if parsed.family == Family::V6 {
        let hop_limit = packet.header_mut::<u8>(parsed.l3 + V6_HOP_LIMIT)?;
        *hop_limit = parsed.ttl.wrapping_sub(1);
        return Some(());
    }
    let word = packet.header_mut::<[u8; 2]>(parsed.l3 + V4_TTL)?;
    let old = u16::from_ne_bytes(*word);
    word[0] = parsed.ttl.wrapping_sub(1);
    let new = u16::from_ne_bytes(*word);
    update_v4_checksum(packet, parsed.l3, Diff::none().replace_u16(old, new))
}

/// Changes an ARP request into the reply of its target, which has this MAC address (RFC 826). `None` if it cannot be written.
#[inline(always)]
pub fn answer_arp<P: Packet>(packet: &mut P, mac: &MacAddr) -> Option<()> {
    let arp = packet.header_mut::<ArpHdr>(ETHERNET)?;
    let target = arp.tpa;
    arp.oper = [0, 2];
    arp.tha = arp.sha;
    arp.tpa = arp.spa;
    arp.sha = mac.0;
    arp.spa = target;
    Some(())
}

/// Changes a neighbour solicitation, whose only option is the link address of its source, into the advertisement of its target,
/// which has the MAC address `mac` (RFC 4861 §4.4). `to` contains the new addresses. `None` if it cannot be written.
#[inline(always)]
pub fn answer_solicitation<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    to: &FlowKey,
    mac: &MacAddr,
    is_router: bool,
) -> Option<()> {
    let message = parsed.l3 + parsed.l4;
    let mut diff = Diff::none();
    let kind = packet.header_mut::<[u8; 2]>(message)?;
    let old = u16::from_ne_bytes(*kind);
    *kind = [ICMPV6_NEIGHBOUR_ADVERTISEMENT, 0];
    diff = diff.replace_u16(old, u16::from_ne_bytes(*kind));
    let flags = packet.header_mut::<[u8; 2]>(message + ND_FLAGS)?;
    let old = u16::from_ne_bytes(*flags);
    *flags = [
        ND_SOLICITED | ND_OVERRIDE | if is_router { ND_ROUTER } else { 0 },
        0,
    ];
    diff = diff.replace_u16(old, u16::from_ne_bytes(*flags));
    let option = packet.header_mut::<[u8; 8]>(message + ND_OPTION)?;
    let [a, b, c, d, e, f, g, h] = *option;
    let old = [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ];
    let [c, d, e, f, g, h] = mac.0;
    *option = [TARGET_LINK_ADDRESS, 1, c, d, e, f, g, h];
    diff = diff
        .replace_u32(old[0], u32::from_ne_bytes([TARGET_LINK_ADDRESS, 1, c, d]))
        .replace_u32(old[1], u32::from_ne_bytes([e, f, g, h]));
    let addresses = write_addresses(packet, parsed, to, REWRITE_SRC | REWRITE_DST)?;
    let checksum = parsed.checksum_offset();
    packet.update_checksum(checksum, addresses, pseudo_header(Family::V6), false)?;
    packet.update_checksum(checksum, diff, Covers::Payload, false)
}

/// Writes both addresses of the Ethernet header. `None` if there is no such header.
#[inline(always)]
pub fn set_macs<P: Packet>(packet: &mut P, destination: &MacAddr, source: &MacAddr) -> Option<()> {
    let macs = packet.header_mut::<[u8; 12]>(0)?;
    let [a, b, c, d, e, f] = destination.0;
    let [g, h, i, j, k, l] = source.0;
    *macs = [a, b, c, d, e, f, g, h, i, j, k, l];
    Some(())
}

/// Writes the ethertype of the Ethernet header. `None` if there is no such header.
#[inline(always)]
pub fn set_ethertype<P: Packet>(packet: &mut P, family: Family) -> Option<()> {
    let ethertype = match family {
        Family::V4 => ETHERTYPE_IPV4,
        Family::V6 => ETHERTYPE_IPV6,
    };
    *packet.header_mut::<[u8; 2]>(ETHERNET - 2)? = ethertype.to_be_bytes();
    Some(())
}

#[inline(always)]
fn write_address<P: Packet>(
    packet: &mut P,
    family: Family,
    offset: usize,
    old: Addr,
    new: Addr,
    diff: Diff,
) -> Option<Diff> {
    if family == Family::V4 {
        *packet.header_mut::<[u8; 4]>(offset)? = new.raw_v4().to_ne_bytes();
        return Some(diff.replace_u32(old.raw_v4(), new.raw_v4()));
    }
    *packet.header_mut::<[u8; 16]>(offset)? = new.octets();
    let [a, b, c, d] = old.raw_words();
    let [e, f, g, h] = new.raw_words();
    Some(
        diff.replace_u32(a, e)
            .replace_u32(b, f)
            .replace_u32(c, g)
            .replace_u32(d, h),
    )
}

/// Writes a port, or the identifier of an echo, whose offset is the same in both directions.
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
    *packet.header_mut::<[u8; 2]>(parsed.l3 + parsed.l4 + offset)? = new.to_ne_bytes();
    Some(diff.replace_u16(old, new))
}

#[cfg(test)]
mod tests;
