//! The Ethernet header.

use super::{ipv4, ipv6};
use crate::packet::{Packet, VLAN_ID};

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Ethertypes of VLAN tags: IEEE 802.1Q and 802.1ad.
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// Bytes of a VLAN tag.
const VLAN_TAG: usize = 4;

/// The ethertype; `None` if the packet is shorter than an Ethernet header.
#[inline(always)]
pub fn ethertype<P: Packet>(packet: &P) -> Option<u16> {
    packet
        .header::<[u8; 2]>(12)
        .map(|bytes| u16::from_be_bytes(*bytes))
}

/// The identifier of the VLAN tag in the bytes of the packet; `None` if it has no tag there.
#[inline(always)]
pub fn vlan_in_packet<P: Packet>(packet: &P) -> Option<u16> {
    match ethertype(packet)? {
        ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => {
            let tag = packet.header::<[u8; 2]>(ETHERNET)?;
            Some(u16::from_be_bytes(*tag) & VLAN_ID)
        }
        _ => None,
    }
}

/// Offset and ethertype of the network header, after a priority tag if there is one; `None` if the packet is shorter than an
/// Ethernet header.
#[inline(always)]
pub(super) fn network_header<P: Packet>(packet: &P) -> Option<(usize, u16)> {
    if vlan_in_packet(packet) == Some(0)
        && let Some(inner) = packet.header::<[u8; 2]>(ETHERNET + 2)
    {
        return Some((ETHERNET + VLAN_TAG, u16::from_be_bytes(*inner)));
    }
    Some((ETHERNET, ethertype(packet)?))
}

/// The protocol field of the network header; `None` if the packet is not IP. Costs less than parsing, but the field does not
/// tell the protocol after extension headers.
#[inline(always)]
pub fn first_protocol<P: Packet>(packet: &P) -> Option<u8> {
    let offset = match ethertype(packet) {
        Some(ETHERTYPE_IPV4) => ETHERNET + ipv4::PROTOCOL,
        Some(ETHERTYPE_IPV6) => ETHERNET + ipv6::NEXT_HEADER,
        _ => return None,
    };
    packet.header::<u8>(offset).copied()
}
