//! ICMP errors for packets that a route does not take (RFC 1191, RFC 8201), made of the packets themselves.

use netpath_common::{
    addr::Family,
    checksum::Diff,
    flow::{ICMP, ICMPV6},
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    packet::Packet,
    parse::{ETHERNET, Parsed},
};

/// Bytes of the packet that are quoted, from its network header on. RFC 792 and RFC 4443 require less.
pub const QUOTE: usize = 128;
/// Bytes of an ICMP header.
const ICMP_HEADER: usize = 8;
/// Hop limit of the message.
const TTL: u8 = 64;
/// Destination unreachable, fragmentation needed.
const V4_TYPE: [u8; 2] = [3, 4];
/// Packet too big.
const V6_TYPE: [u8; 2] = [2, 0];
/// Least MTU of IPv6 (RFC 8200 §5).
const V6_LEAST_MTU: u32 = 1280;

/// Bytes of the network header and the ICMP header.
#[inline(always)]
pub const fn headers(family: Family) -> usize {
    ICMP_HEADER
        + match family {
            Family::V4 => Ipv4Hdr::LEN,
            Family::V6 => Ipv6Hdr::LEN,
        }
}

/// Writes the headers of the message between the Ethernet header and the quoted packet, where there is room for them. It comes from
/// the destination of the packet, as from the tunnel device of the kernel. `sum` is the ones'-complement sum of the quote. `None` if
/// they cannot be written.
///
/// The message is a new packet, so its checksum is computed and not updated.
#[inline(always)]
pub fn write_too_big<P: Packet>(packet: &mut P, parsed: &Parsed, mtu: u32, sum: u32) -> Option<()> {
    let quote = Diff::none().replace_u32(0, sum);
    let (network, kind, sum, mtu) = match parsed.family {
        Family::V4 => (Ipv4Hdr::LEN, V4_TYPE, quote, mtu),
        Family::V6 => (
            Ipv6Hdr::LEN,
            V6_TYPE,
            quote.and(pseudo_header(parsed)),
            mtu.max(V6_LEAST_MTU),
        ),
    };
    match parsed.family {
        Family::V4 => write_v4(packet, parsed)?,
        Family::V6 => write_v6(packet, parsed)?,
    }
    let [a, b] = kind;
    let [e, f, g, h] = mtu.to_be_bytes();
    let sum = sum
        .replace_u16(0, u16::from_ne_bytes(kind))
        .replace_u32(0, u32::from_ne_bytes([e, f, g, h]));
    let [c, d] = sum.apply(u16::MAX).to_ne_bytes();
    *packet.header_mut::<[u8; ICMP_HEADER]>(ETHERNET + network)? = [a, b, c, d, e, f, g, h];
    Some(())
}

/// The sum of the pseudo-header of ICMPv6 (RFC 4443 §2.3).
#[inline(always)]
fn pseudo_header(parsed: &Parsed) -> Diff {
    let [a, b, c, d] = parsed.key.src.raw_words();
    let [e, f, g, h] = parsed.key.dst.raw_words();
    let length = (ICMP_HEADER + QUOTE) as u32;
    Diff::none()
        .replace_u32(0, a)
        .replace_u32(0, b)
        .replace_u32(0, c)
        .replace_u32(0, d)
        .replace_u32(0, e)
        .replace_u32(0, f)
        .replace_u32(0, g)
        .replace_u32(0, h)
        .replace_u32(0, length.to_be())
        .replace_u32(0, (ICMPV6 as u32).to_be())
}

#[inline(always)]
fn write_v4<P: Packet>(packet: &mut P, parsed: &Parsed) -> Option<()> {
    let total = ((headers(Family::V4) + QUOTE) as u16).to_be_bytes();
    let (source, destination) = (parsed.key.dst.raw_v4(), parsed.key.src.raw_v4());
    let ip = packet.header_mut::<Ipv4Hdr>(ETHERNET)?;
    ip.vihl = 0x45;
    ip.tos = 0;
    ip.tot_len = total;
    ip.id = [0, 0];
    ip.frags = [0x40, 0];
    ip.ttl = TTL;
    ip.proto = ICMP;
    ip.src_addr = source.to_ne_bytes();
    ip.dst_addr = destination.to_ne_bytes();
    let sum = Diff::none()
        .replace_u16(0, u16::from_ne_bytes([0x45, 0]))
        .replace_u16(0, u16::from_ne_bytes(total))
        .replace_u16(0, u16::from_ne_bytes([0x40, 0]))
        .replace_u16(0, u16::from_ne_bytes([TTL, ICMP]))
        .replace_u32(0, source)
        .replace_u32(0, destination);
    ip.check = sum.apply(u16::MAX).to_ne_bytes();
    Some(())
}

#[inline(always)]
fn write_v6<P: Packet>(packet: &mut P, parsed: &Parsed) -> Option<()> {
    let [a, b] = ((ICMP_HEADER + QUOTE) as u16).to_be_bytes();
    *packet.header_mut::<[u8; 8]>(ETHERNET)? = [0x60, 0, 0, 0, a, b, ICMPV6, TTL];
    *packet.header_mut::<[u8; 16]>(ETHERNET + super::V6_SOURCE)? = parsed.key.dst.octets();
    *packet.header_mut::<[u8; 16]>(ETHERNET + super::V6_DESTINATION)? = parsed.key.src.octets();
    Some(())
}
