//! What a sandbox may send: packets from its own addresses, and no control messages of routers.

use netpath_common::{
    addr::{Addr, Family, MacAddr},
    flow::UDP,
    maps::{Endpoint, VXLAN_PORT},
    reason::Reason,
};
use network_types::arp::ArpHdr;

use super::destination::stays_on_link;
use crate::{
    packet::Packet,
    parse::{
        ETHERNET, ICMPV6_NEIGHBOUR_ADVERTISEMENT, ICMPV6_REDIRECT, ICMPV6_ROUTER_ADVERTISEMENT,
        Parsed, Transport,
    },
};

/// Whether the source MAC address is the sandbox's.
#[inline(always)]
pub fn has_own_mac<P: Packet>(packet: &P, endpoint: &Endpoint) -> bool {
    match packet.header::<[u8; 6]>(6) {
        Some(source) => same_mac(source, &endpoint.mac.0),
        None => false,
    }
}

/// Checks the sender of an ARP message (RFC 826; a probe has no sender address, RFC 5227).
#[inline(always)]
pub fn check_arp<P: Packet>(packet: &P, endpoint: &Endpoint) -> Reason {
    let Some(arp) = packet.header::<ArpHdr>(ETHERNET) else {
        return Reason::Malformed;
    };
    let sender = u32::from_ne_bytes(arp.spa);
    let own = endpoint.v4.is_v4() && sender == endpoint.v4.raw_v4();
    if same_mac(&arp.sha, &endpoint.mac.0) && (own || sender == 0) {
        Reason::LinkLocal
    } else {
        Reason::Spoofed
    }
}

/// Whether the source address is the sandbox's. For packets that stay on the link, any IPv6 link-local address is accepted.
/// Neighbour discovery must be of a type that a host may send.
#[inline(always)]
pub fn has_own_source<P: Packet>(packet: &P, parsed: &Parsed, endpoint: &Endpoint) -> bool {
    let source = parsed.key.src;
    if parsed.transport == Transport::LinkControl {
        return match parsed.icmp_type {
            ICMPV6_ROUTER_ADVERTISEMENT | ICMPV6_REDIRECT => false,
            ICMPV6_NEIGHBOUR_ADVERTISEMENT => {
                match packet.header::<[u8; 16]>(parsed.l3 + parsed.l4 + 8) {
                    Some(target) => {
                        let target = Addr::from_octets(*target);
                        is_own_v6(target, endpoint)
                            && is_own_v6(source, endpoint)
                            && target != link_local(&endpoint.gateway_mac)
                    }
                    None => false,
                }
            }
            // Duplicate address detection has no source address (RFC 4862 §5.4.2).
            _ => source.is_unspecified() || is_own_v6(source, endpoint),
        };
    }
    match parsed.family {
        Family::V4 => endpoint.v4 == source,
        // `endpoint.v6` is unspecified if the endpoint has no IPv6 address.
        Family::V6 => {
            (endpoint.v6 == source && !source.is_unspecified())
                || (source.is_link_local() && stays_on_link(parsed.key.dst))
        }
    }
}

/// Whether the destination MAC address is the gateway's.
#[inline(always)]
pub fn is_to_gateway<P: Packet>(packet: &P, endpoint: &Endpoint) -> bool {
    is_addressed_to(packet, &endpoint.gateway_mac)
}

/// Whether the destination MAC address is this one.
#[inline(always)]
pub fn is_addressed_to<P: Packet>(packet: &P, mac: &MacAddr) -> bool {
    match packet.header::<[u8; 6]>(0) {
        Some(destination) => same_mac(destination, &mac.0),
        None => false,
    }
}

/// Whether the node may decapsulate the packet. The inner packet would then appear to come from a trusted node.
#[inline(always)]
pub fn is_tunnel(parsed: &Parsed) -> bool {
    match parsed.key.protocol {
        UDP => parsed.key.dport.get() == VXLAN_PORT,
        protocol => matches!(protocol, IPIP | IPV6_IN_IP | GRE),
    }
}

/// Protocol numbers of IPv4, IPv6 and GRE inside IP.
const IPIP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;

#[inline(always)]
fn is_own_v6(addr: Addr, endpoint: &Endpoint) -> bool {
    addr.is_link_local() || (endpoint.v6 == addr && !addr.is_unspecified())
}

/// The link-local address of a bridge with this MAC address (RFC 4291, appendix A).
#[inline(always)]
fn link_local(mac: &MacAddr) -> Addr {
    let [a, b, c, d, e, f] = mac.0;
    let prefix = u64::from_ne_bytes([0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
    Addr::from_raw(
        prefix,
        u64::from_ne_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]),
    )
}

#[inline(always)]
fn same_mac(a: &[u8; 6], b: &[u8; 6]) -> bool {
    // Compared as integers: a comparison of slices compiles to a call of a byte loop.
    let [a0, a1, a2, a3, a4, a5] = *a;
    let [b0, b1, b2, b3, b4, b5] = *b;
    u32::from_ne_bytes([a0, a1, a2, a3]) == u32::from_ne_bytes([b0, b1, b2, b3])
        && u16::from_ne_bytes([a4, a5]) == u16::from_ne_bytes([b4, b5])
}
