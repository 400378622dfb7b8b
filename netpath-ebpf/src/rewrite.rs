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
const V4_CHECKSUM: usize = ETHERNET + 10;
const V4_SOURCE: usize = ETHERNET + 12;
const V4_DESTINATION: usize = ETHERNET + 16;
const V6_HOP_LIMIT: usize = ETHERNET + 7;
const V6_SOURCE: usize = ETHERNET + 8;
const V6_DESTINATION: usize = ETHERNET + 24;
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
    let mut addresses = Diff::none();
    let mut ports = Diff::none();
    if flags & REWRITE_SRC != 0 {
        addresses = write_address(
            packet, parsed.v4, V4_SOURCE, V6_SOURCE, from.src, to.src, addresses,
        )?;
        if from.sport != to.sport {
            ports = write_port(packet, parsed, 0, from.sport.raw(), to.sport.raw(), ports)?;
        }
    }
    if flags & REWRITE_DST != 0 {
        addresses = write_address(
            packet,
            parsed.v4,
            V4_DESTINATION,
            V6_DESTINATION,
            from.dst,
            to.dst,
            addresses,
        )?;
        if from.dport != to.dport {
            ports = write_port(packet, parsed, 2, from.dport.raw(), to.dport.raw(), ports)?;
        }
    }
    if parsed.v4 {
        let checksum = packet.header_mut::<[u8; 2]>(V4_CHECKSUM)?;
        *checksum = addresses.apply(u16::from_ne_bytes(*checksum)).to_ne_bytes();
    }
    let udp = from.protocol == UDP;
    let checksum = parsed.checksum_offset();
    // ICMPv4 has no pseudo-header (RFC 792).
    if from.protocol != ICMP {
        let covers = if parsed.v4 {
            Covers::PseudoV4
        } else {
            Covers::PseudoV6
        };
        packet.update_checksum(checksum, addresses, covers, udp)?;
    }
    if ports.folded() != 0 {
        packet.update_checksum(checksum, ports, Covers::Payload, udp)?;
    }
    Some(())
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
    let checksum = packet.header_mut::<[u8; 2]>(V4_CHECKSUM)?;
    *checksum = Diff::none()
        .half(old, new)
        .apply(u16::from_ne_bytes(*checksum))
        .to_ne_bytes();
    Some(())
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
    v4_offset: usize,
    v6_offset: usize,
    old: Addr,
    new: Addr,
    diff: Diff,
) -> Option<Diff> {
    if v4 {
        *packet.header_mut::<[u8; 4]>(v4_offset)? = new.raw_v4().to_ne_bytes();
        return Some(diff.word(old.raw_v4(), new.raw_v4()));
    }
    *packet.header_mut::<[u8; 16]>(v6_offset)? = new.octets();
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
