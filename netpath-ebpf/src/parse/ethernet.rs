//! The Ethernet header.

use netpath_common::flow::{ICMP, ICMPV6};

use super::{ipv4, ipv6};
use crate::packet::Packet;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The ethertype; `None` if the packet is shorter than an Ethernet header.
#[inline(always)]
pub fn ethertype<P: Packet>(packet: &P) -> Option<u16> {
    packet
        .header::<[u8; 2]>(12)
        .map(|bytes| u16::from_be_bytes(*bytes))
}

/// Whether the protocol field of the network header is ICMP or ICMPv6. Costs less than parsing; an ICMPv6 message after
/// extension headers is not recognised.
#[inline(always)]
pub fn may_be_icmp<P: Packet>(packet: &P) -> bool {
    let (offset, protocol) = match ethertype(packet) {
        Some(ETHERTYPE_IPV4) => (ETHERNET + ipv4::PROTOCOL, ICMP),
        Some(ETHERTYPE_IPV6) => (ETHERNET + ipv6::NEXT_HEADER, ICMPV6),
        _ => return false,
    };
    match packet.header::<u8>(offset) {
        Some(found) => *found == protocol,
        None => false,
    }
}
