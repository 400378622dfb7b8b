//! Packets of overlay networks between nodes: headers, forged fields, congestion, size, and the link addresses of remote sandboxes.

mod link;
mod received;

use std::net::IpAddr;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{Checksum, Packet, SYN},
    prog::{
        Family, gateway_mac,
        overlay::{EXCEPTION, FIRST, MAC_EXCEPTION, NARROW, SECOND, VNI, WIDE, derived_mac},
        sandbox_mac,
    },
};

use crate::case::Case;
use crate::{both, case, endpoint_sends};

/// Slot of the sandbox of this node.
const SLOT: u32 = 12;
/// Last byte of the addresses of a sandbox on the first node, and of one on the second node.
const ON_FIRST: u8 = 70;
const ON_SECOND: u8 = 130;

pub fn cases() -> Vec<Case> {
    let mut cases = both(sent);
    cases.extend(both(not_sent));
    cases.extend(both(too_big));
    cases.extend(both(received::valid));
    cases.extend(both(received::congestion));
    cases.extend(both(received::forged));
    cases.extend(both(received::forged_inside));
    cases.extend(both(link::guarded));
    cases.extend(link::addresses());
    cases
}

/// A packet of the sandbox of this node to a sandbox on another node.
fn outgoing(family: Family, last: u8) -> Packet {
    let to = family.overlay(last);
    Packet::ip(family.sandbox(SLOT), to).eth(sandbox_mac(SLOT), derived_mac(to))
}

/// The address of this node in tunnels to a peer.
fn own(peer: IpAddr) -> IpAddr {
    if peer.is_ipv4() {
        Family::V4.host()
    } else {
        Family::V6.host()
    }
}

/// The tunnel packet that this node sends for a frame; the redirect writes its MAC addresses.
fn tunnel_to(peer: IpAddr, inner: &Packet) -> Packet {
    Packet::tunnel(own(peer), peer, VNI, &inner.build())
}

fn sent(family: Family) -> Vec<Case> {
    let sends = |name: &str, peer: IpAddr, packet: Packet, tos: u8| {
        let outer = tunnel_to(peer, &packet).tos(tos).eth(
            sandbox_mac(SLOT),
            derived_mac(family.overlay(if peer == FIRST { ON_FIRST } else { ON_SECOND })),
        );
        case(family, name).then(
            endpoint_sends(SLOT, &packet)
                .is(Reason::Encapsulated)
                .sends_in_tunnel(&outer),
        )
    };
    let first = outgoing(family, ON_FIRST);
    let second = outgoing(family, ON_SECOND);
    let big = first.clone().tcp(1, 2, SYN).payload(&[7; 1380]);
    let mut cases = rows! { sends;
        "TCP is sent in an IPv4 tunnel": FIRST, first.clone().tcp(1, 2, SYN), 0;
        "TCP is sent in an IPv6 tunnel": SECOND, second.clone().tcp(1, 2, SYN), 0;
        "UDP is sent in an IPv4 tunnel": FIRST, first.clone().udp(1, 2), 0;
        "UDP is sent in an IPv6 tunnel": SECOND, second.clone().udp(1, 2), 0;
        "an echo request is sent in a tunnel": FIRST, first.clone().echo_request(3), 0;
        "another protocol is sent in a tunnel": FIRST, first.clone().protocol(132), 0;
        "a later fragment is sent in a tunnel": FIRST, first.clone().fragment(8, true), 0;
        "a packet with TTL 1 is sent unchanged": FIRST, first.clone().udp(1, 2).ttl(1), 0;
        "a UDP packet without a checksum is sent unchanged": FIRST, first.clone().udp(1, 2).checksum(Checksum::WrongBy(1)), 0;
        "the service code point stays inside": FIRST, first.clone().udp(1, 2).tos(0xb8), 0;
        "ECT(1) is copied to the tunnel packet": FIRST, first.clone().udp(1, 2).tos(0xb9), 1;
        "ECT(0) is copied to the tunnel packet": SECOND, second.udp(1, 2).tos(2), 2;
        "congestion experienced is copied to the tunnel packet": FIRST, first.udp(1, 2).tos(3), 3;
        "a packet of the size of the tunnel is sent": FIRST, big, 0;
    };
    let through_gateway = outgoing(family, ON_FIRST)
        .udp(1, 2)
        .eth(sandbox_mac(SLOT), gateway_mac(SLOT));
    let outer = tunnel_to(FIRST, &outgoing(family, ON_FIRST).udp(1, 2))
        .eth(sandbox_mac(SLOT), gateway_mac(SLOT));
    let step = endpoint_sends(SLOT, &through_gateway).is(Reason::Encapsulated);
    cases.push(
        case(
            family,
            "a packet to the MAC address of the gateway gets that of its destination",
        )
        .then(step.sends_in_tunnel(&outer)),
    );
    let own_mac = outgoing(family, EXCEPTION).udp(1, 2);
    let inner = own_mac.clone().eth_destination(MAC_EXCEPTION);
    let outer =
        tunnel_to(FIRST, &inner).eth(sandbox_mac(SLOT), derived_mac(family.overlay(EXCEPTION)));
    let step = endpoint_sends(SLOT, &own_mac).is(Reason::Encapsulated);
    cases.push(
        case(
            family,
            "a packet to a sandbox with a MAC address of its own gets that address",
        )
        .then(step.sends_in_tunnel(&outer)),
    );
    cases
}

fn not_sent(family: Family) -> Vec<Case> {
    let refused = |name: &str, slot: u32, packet: Packet, reason: Reason| {
        case(family, name).then(endpoint_sends(slot, &packet).is(reason))
    };
    let packet = outgoing(family, ON_FIRST).udp(1, 2);
    let quiet = family.quiet_overlay(ON_FIRST);
    rows! { refused;
        "a packet to a node without a route is dropped": SLOT, outgoing(family, 225).udp(1, 2), Reason::TunnelRoute;
        "a spoofed packet to another node is dropped": SLOT, packet.clone().source(family.sandbox(13)), Reason::Spoofed;
        "a packet to another node is dropped with icc off": 14,
            Packet::ip(family.sandbox(14), quiet).eth(sandbox_mac(14), derived_mac(quiet)).udp(1, 2), Reason::IccOff;
        "a packet to an address that no node has is not sent": SLOT, outgoing(family, 250).udp(1, 2), Reason::NotGateway;
        "a broadcast frame is not sent to another node": SLOT, packet.eth_destination([0xff; 6]), Reason::NotGateway;
        "a sibling on this node is reached without a tunnel": SLOT,
            Packet::ip(family.sandbox(SLOT), family.sandbox(13)).eth(sandbox_mac(SLOT), sandbox_mac(13)).udp(1, 2), Reason::Sibling;
        "a sandbox of a bridge network sends no tunnel packet": 1,
            Packet::ip(family.sandbox(1), family.overlay(ON_FIRST)).eth(sandbox_mac(1), derived_mac(family.overlay(ON_FIRST))).udp(1, 2),
            Reason::NotGateway;
    }
}

/// The ICMP error that the sandbox receives for a packet that does not fit.
fn error(family: Family, packet: &Packet, mtu: u16) -> Packet {
    let bytes = packet.build();
    let to = family.overlay(if mtu < 1300 { 195 } else { 210 });
    let [a, b] = mtu.to_be_bytes();
    let (kind, code) = if family.is_v4() { (3, 4) } else { (2, 0) };
    let error = Packet::ip(to, family.sandbox(SLOT))
        .eth(derived_mac(to), sandbox_mac(SLOT))
        .icmp(kind, code, [0, 0, a, b])
        .payload(&bytes[14..14 + 128]);
    if family.is_v4() {
        error.dont_fragment().id(0)
    } else {
        error
    }
}

fn too_big(family: Family) -> Vec<Case> {
    // IPv6 has no MTU below 1280, and reports no smaller one.
    let narrow = if family.is_v4() { 1250 } else { 1280 };
    let reported = |name: &str, last: u8, length: usize, mtu: u16| {
        let packet = outgoing(family, last)
            .tcp(1, 2, SYN)
            .payload(&vec![7; length]);
        let step = endpoint_sends(SLOT, &packet).is(Reason::TunnelTooBig);
        case(family, name).then(step.sends(&error(family, &packet, mtu)))
    };
    let headers = if family.is_v4() { 40 } else { 60 };
    let lost = |name: &str, packet: Packet| {
        case(family, name).then(endpoint_sends(SLOT, &packet).is(Reason::TunnelLost))
    };
    let fits = |name: &str, last: u8, length: usize| {
        let packet = outgoing(family, last)
            .tcp(1, 2, SYN)
            .payload(&vec![7; length]);
        let peer = if last == 195 { NARROW } else { WIDE };
        let outer =
            tunnel_to(peer, &packet).eth(sandbox_mac(SLOT), derived_mac(family.overlay(last)));
        let step = endpoint_sends(SLOT, &packet).is(Reason::Encapsulated);
        case(family, name).then(step.sends_in_tunnel(&outer))
    };
    let big = outgoing(family, 195).payload(&[7; 1400]);
    let mut cases = vec![
        fits(
            "a packet of the size of an IPv4 route is sent",
            195,
            1250 - headers,
        ),
        reported(
            "a packet larger than an IPv4 route is reported",
            195,
            1251 - headers,
            narrow,
        ),
        fits(
            "a packet of the size of an IPv6 route is sent",
            210,
            1330 - headers,
        ),
        reported(
            "a packet larger than an IPv6 route is reported",
            210,
            1331 - headers,
            1330,
        ),
        lost(
            "a later fragment that is too big is dropped",
            big.clone().fragment(8, true),
        ),
        lost(
            "an ICMP error that is too big is dropped",
            big.icmp(if family.is_v4() { 11 } else { 3 }, 0, [0; 4]),
        ),
    ];
    let packet = outgoing(family, 195).tcp(1, 2, SYN).payload(&[7; 2600]);
    let gso = endpoint_sends(SLOT, &packet)
        .gso(1251 - headers as u32)
        .is(Reason::TunnelTooBig);
    cases.push(
        case(
            family,
            "a GSO packet with segments that are too big is reported",
        )
        .then(gso.sends(&error(family, &packet, narrow))),
    );
    cases
}
