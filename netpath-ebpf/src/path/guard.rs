//! What a sandbox may send: its own addresses, and nothing that claims to be the network's.

use netpath_common::{addr::Addr, maps::Endpoint, reason::Reason};
use network_types::arp::ArpHdr;

use crate::{
    packet::Packet,
    parse::{
        ETHERNET, ICMPV6_NEIGHBOUR_ADVERTISEMENT, ICMPV6_REDIRECT, ICMPV6_ROUTER_ADVERTISEMENT,
        Parsed, Transport,
    },
};

/// Whether the frame comes from the sandbox's own MAC address.
#[inline(always)]
pub fn own_mac<P: Packet>(packet: &P, endpoint: &Endpoint) -> bool {
    match packet.header::<[u8; 6]>(6) {
        Some(source) => same_mac(source, &endpoint.mac.0),
        None => false,
    }
}

/// Whether an ARP message speaks for the sandbox only (RFC 826; a probe has no sender address, RFC 5227).
#[inline(always)]
pub fn arp<P: Packet>(packet: &P, endpoint: &Endpoint) -> Reason {
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

/// Whether the source address is the sandbox's own, and a control message is one a host may send.
#[inline(always)]
pub fn source<P: Packet>(packet: &P, parsed: &Parsed, endpoint: &Endpoint) -> bool {
    let source = parsed.key.src;
    if parsed.transport == Transport::LinkControl {
        return match parsed.icmp_type {
            ICMPV6_ROUTER_ADVERTISEMENT | ICMPV6_REDIRECT => false,
            ICMPV6_NEIGHBOUR_ADVERTISEMENT => match packet.header::<[u8; 16]>(parsed.l4 + 8) {
                Some(target) => {
                    is_own_v6(Addr::from_octets(*target), endpoint) && is_own_v6(source, endpoint)
                }
                None => false,
            },
            // Duplicate address detection has no source yet (RFC 4862 §5.4.2).
            _ => source.is_unspecified() || is_own_v6(source, endpoint),
        };
    }
    // An endpoint without an IPv6 address has the unspecified one.
    if parsed.v4 {
        endpoint.v4 == source
    } else {
        (endpoint.v6 == source && !source.is_unspecified())
            || (source.is_link_local() && stays_on_link(parsed.key.dst))
    }
}

/// Whether a destination is one that the link itself handles.
#[inline(always)]
pub fn stays_on_link(destination: Addr) -> bool {
    destination.is_multicast_or_broadcast() || destination.is_link_local()
}

#[inline(always)]
fn is_own_v6(addr: Addr, endpoint: &Endpoint) -> bool {
    addr.is_link_local() || (endpoint.v6 == addr && !addr.is_unspecified())
}

#[inline(always)]
fn same_mac(a: &[u8; 6], b: &[u8; 6]) -> bool {
    // Compared by words: a slice comparison would call a byte loop.
    let [a0, a1, a2, a3, a4, a5] = *a;
    let [b0, b1, b2, b3, b4, b5] = *b;
    u32::from_ne_bytes([a0, a1, a2, a3]) == u32::from_ne_bytes([b0, b1, b2, b3])
        && u16::from_ne_bytes([a4, a5]) == u16::from_ne_bytes([b4, b5])
}
