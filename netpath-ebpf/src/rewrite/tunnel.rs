//! Headers of tunnel packets (RFC 7348 §5).

use netpath_common::{
    addr::{Addr, Family},
    checksum::Diff,
    flow::UDP,
};
use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use super::{set_ethertype, update_v4_checksum};
use crate::{
    packet::Packet,
    parse::{ETHERNET, Parsed, UDP_HEADER},
};

/// Bytes of a VXLAN header.
pub const VXLAN_HEADER: usize = 8;
/// Flag of a VXLAN header: it contains a VNI.
pub const VNI_IS_VALID: u8 = 0x08;
/// The two bits of explicit congestion notification in the type of service or traffic class (RFC 3168).
pub const ECN: u8 = 0x03;
/// The code point "congestion experienced".
pub const CONGESTION_EXPERIENCED: u8 = 0x03;

/// TTL or hop limit of a tunnel packet.
const TTL: u8 = 64;
/// The IPv4 flag DF.
const DONT_FRAGMENT: u8 = 0x40;

/// Bytes of the network header of a tunnel packet.
#[inline(always)]
pub const fn network_header(family: Family) -> usize {
    match family {
        Family::V4 => Ipv4Hdr::LEN,
        Family::V6 => Ipv6Hdr::LEN,
    }
}

/// Bytes that a tunnel adds to a packet: the headers of the tunnel packet, and the Ethernet header inside.
#[inline(always)]
pub const fn overhead(family: Family) -> usize {
    network_header(family) + UDP_HEADER + VXLAN_HEADER + ETHERNET
}

/// Writes the headers of a tunnel packet between the Ethernet header and the network packet inside, where there is room for them.
/// `outer` contains the family, addresses, ports and type of service; `ethernet` is the Ethernet header inside. `None` if they
/// cannot be written.
///
/// The UDP checksum is zero, in IPv6 too (RFC 6935): the packet inside has checksums of its own, and the receiver checks
/// addresses and ports (RFC 6936 §5).
#[inline(always)]
pub fn write_tunnel<P: Packet>(
    packet: &mut P,
    outer: &Parsed,
    vni: u32,
    ethernet: &[u8; ETHERNET],
) -> Option<()> {
    let header = network_header(outer.family);
    let length = packet.len().checked_sub(ETHERNET)?;
    let datagram = length.checked_sub(header)?;
    set_ethertype(packet, outer.family)?;
    match outer.family {
        Family::V4 => write_v4(packet, outer, length)?,
        Family::V6 => write_v6(packet, outer, datagram)?,
    }
    let udp = packet.header_mut::<UdpHdr>(ETHERNET + header)?;
    udp.src = outer.key.sport.raw().to_ne_bytes();
    udp.dst = outer.key.dport.raw().to_ne_bytes();
    udp.len = length_field(datagram);
    udp.check = [0, 0];
    let vxlan = ETHERNET + header + UDP_HEADER;
    let [_, a, b, c] = vni.to_be_bytes();
    *packet.header_mut::<[u8; VXLAN_HEADER]>(vxlan)? = [VNI_IS_VALID, 0, 0, 0, a, b, c, 0];
    *packet.header_mut::<[u8; ETHERNET]>(vxlan + VXLAN_HEADER)? = *ethernet;
    Some(())
}

#[inline(always)]
fn write_v4<P: Packet>(packet: &mut P, outer: &Parsed, length: usize) -> Option<()> {
    let (source, destination) = (outer.key.src.raw_v4(), outer.key.dst.raw_v4());
    let total = length_field(length);
    let ip = packet.header_mut::<Ipv4Hdr>(ETHERNET)?;
    ip.vihl = 0x45;
    ip.tos = outer.tos;
    ip.tot_len = total;
    // A packet that is never fragmented needs no identification (RFC 6864 §4.1).
    ip.id = [0, 0];
    ip.frags = [DONT_FRAGMENT, 0];
    ip.ttl = TTL;
    ip.proto = UDP;
    ip.src_addr = source.to_ne_bytes();
    ip.dst_addr = destination.to_ne_bytes();
    let sum = Diff::none()
        .replace_u16(0, u16::from_ne_bytes([0x45, outer.tos]))
        .replace_u16(0, u16::from_ne_bytes(total))
        .replace_u16(0, u16::from_ne_bytes([DONT_FRAGMENT, 0]))
        .replace_u16(0, u16::from_ne_bytes([TTL, UDP]))
        .replace_u32(0, source)
        .replace_u32(0, destination);
    ip.check = sum.apply(u16::MAX).to_ne_bytes();
    Some(())
}

#[inline(always)]
fn write_v6<P: Packet>(packet: &mut P, outer: &Parsed, datagram: usize) -> Option<()> {
    let start = [0x60 | outer.tos >> 4, outer.tos << 4, 0, 0];
    let [a, b] = length_field(datagram);
    let [c, d, e, f] = start;
    *packet.header_mut::<[u8; 8]>(ETHERNET)? = [c, d, e, f, a, b, UDP, TTL];
    write_v6_address(packet, ETHERNET + super::V6_SOURCE, outer.key.src)?;
    write_v6_address(packet, ETHERNET + super::V6_DESTINATION, outer.key.dst)
}

#[inline(always)]
fn write_v6_address<P: Packet>(packet: &mut P, offset: usize, address: Addr) -> Option<()> {
    *packet.header_mut::<[u8; 16]>(offset)? = address.octets();
    Some(())
}

/// A length field; zero for a GSO packet that is longer than its maximum, whose segments get their own lengths.
#[inline(always)]
fn length_field(length: usize) -> [u8; 2] {
    if length > u16::MAX as usize {
        [0, 0]
    } else {
        (length as u16).to_be_bytes()
    }
}

/// Writes the Ethernet header of a packet from a tunnel. `None` if it cannot be written.
#[inline(always)]
pub fn write_ethernet<P: Packet>(packet: &mut P, ethernet: &[u8; ETHERNET]) -> Option<()> {
    *packet.header_mut::<[u8; ETHERNET]>(0)? = *ethernet;
    Some(())
}

/// The congestion notification of a packet from a tunnel (RFC 6040 §4.2): `inner` is that of the packet, `outer` that of the tunnel
/// packet. `None` if the packet must be dropped, because its transport would not react to the congestion.
#[inline(always)]
pub const fn decapsulated_ecn(inner: u8, outer: u8) -> Option<u8> {
    const NOT_CAPABLE: u8 = 0;
    const CAPABLE_1: u8 = 1;
    const CAPABLE_0: u8 = 2;
    match (inner & ECN, outer & ECN) {
        (NOT_CAPABLE, CONGESTION_EXPERIENCED) => None,
        (CAPABLE_0, CAPABLE_1) => Some(CAPABLE_1),
        (CAPABLE_0 | CAPABLE_1, CONGESTION_EXPERIENCED) => Some(CONGESTION_EXPERIENCED),
        (inner, _) => Some(inner),
    }
}

/// Writes the congestion notification of a packet. `None` if it cannot be written.
#[inline(always)]
pub fn set_ecn<P: Packet>(packet: &mut P, parsed: &Parsed, ecn: u8) -> Option<()> {
    let field = packet.header_mut::<[u8; 2]>(parsed.l3)?;
    let old = u16::from_ne_bytes(*field);
    if parsed.family == Family::V6 {
        field[1] = (field[1] & !(ECN << 4)) | ecn << 4;
        return Some(());
    }
    field[1] = (field[1] & !ECN) | ecn;
    let new = u16::from_ne_bytes(*field);
    update_v4_checksum(packet, parsed.l3, Diff::none().replace_u16(old, new))
}

#[cfg(test)]
mod tests {
    use super::decapsulated_ecn;

    /// The table of RFC 6040 §4.2: rows are the packet inside, columns the tunnel packet, in the order not capable, ECT(1),
    /// ECT(0), congestion experienced.
    #[test]
    fn congestion_notification_follows_the_table_of_rfc_6040() {
        let table = [
            [Some(0), Some(0), Some(0), None],
            [Some(1), Some(1), Some(1), Some(3)],
            [Some(2), Some(1), Some(2), Some(3)],
            [Some(3), Some(3), Some(3), Some(3)],
        ];
        for (inner, row) in (0..).zip(table) {
            for (outer, expected) in (0..).zip(row) {
                assert_eq!(decapsulated_ecn(inner, outer), expected, "{inner} {outer}");
            }
        }
    }
}
