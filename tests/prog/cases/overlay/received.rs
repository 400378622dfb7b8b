//! Tunnel packets that arrive: valid ones, congestion, and each forged or truncated field.

use std::net::IpAddr;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{Checksum, Packet, SYN},
    prog::{
        Family, MAC_OUTSIDE, MAC_UPLINK, UPLINK_INGRESS,
        overlay::{FIRST, FIRST_OTHERS, SECOND, TUNNEL_PORT, VNI, derived_mac},
        sandbox_mac,
    },
};

use super::{ON_FIRST, ON_SECOND, SLOT, own};
use crate::case;
use crate::case::{Case, Send, send, send_bytes};

/// A frame of a sandbox on another node to the sandbox of this node.
fn incoming(family: Family, last: u8) -> Packet {
    let from = family.overlay(last);
    let to = family.sandbox(SLOT);
    Packet::ip(from, to).eth(derived_mac(from), derived_mac(to))
}

/// A tunnel packet from another node, as `eth0` receives it.
fn tunnel_from(peer: IpAddr, inner: &Packet) -> Packet {
    Packet::tunnel(peer, own(peer), VNI, &inner.build()).eth(MAC_OUTSIDE, MAC_UPLINK)
}

fn arrives(packet: &Packet) -> Send {
    send(UPLINK_INGRESS, "eth0", packet)
}

/// A packet that must be delivered to the sandbox of this node.
fn delivered(packet: &Packet, inner: &Packet) -> Send {
    let inner = inner.clone().eth_destination(sandbox_mac(SLOT));
    arrives(packet).is(Reason::Decapsulated).sends(&inner)
}

pub fn valid(family: Family) -> Vec<Case> {
    let arrives = |name: &str, peer: IpAddr, inner: Packet| {
        case(family, name).then(delivered(&tunnel_from(peer, &inner), &inner))
    };
    let first = incoming(family, ON_FIRST);
    let second = incoming(family, ON_SECOND);
    let mut cases = rows! { arrives;
        "TCP is delivered from an IPv4 tunnel": FIRST, first.clone().tcp(1, 2, SYN);
        "TCP is delivered from an IPv6 tunnel": SECOND, second.clone().tcp(1, 2, SYN);
        "UDP is delivered from an IPv4 tunnel": FIRST, first.clone().udp(1, 2);
        "an echo reply is delivered from an IPv6 tunnel": SECOND, second.echo_reply(9);
        "a later fragment is delivered": FIRST, first.clone().fragment(8, false);
        "an ICMP error is delivered": FIRST, first.clone().icmp(if family.is_v4() { 11 } else { 3 }, 0, [0; 4]);
        "a packet with TTL 1 is delivered unchanged": FIRST, first.clone().udp(1, 2).ttl(1);
        "a wrong checksum inside stays wrong": FIRST, first.clone().udp(1, 2).checksum(Checksum::WrongBy(5));
        "a packet from another address of the node is delivered": FIRST_OTHERS[0], first.clone().udp(1, 2);
        "a packet from the other family of the node is delivered": FIRST_OTHERS[1], first.clone().udp(1, 2);
    };
    let inner = first.udp(1, 2);
    let variant = |name: &str, change: fn(Packet) -> Packet| {
        let packet = change(tunnel_from(FIRST, &inner));
        case(family, name).then(delivered(&packet, &inner))
    };
    cases.extend([
        variant(
            "a tunnel packet with a UDP checksum is accepted",
            |packet| packet.checksum(Checksum::Correct),
        ),
        variant("a tunnel packet with IP options is accepted", |packet| {
            packet.options(&[1, 1, 1, 1])
        }),
        variant("a tunnel packet from any port is accepted", |packet| {
            packet.sport(7)
        }),
        variant(
            "a tunnel packet without the flag DF is accepted",
            |packet| packet.id(5),
        ),
    ]);
    let frame = inner.build();
    for (name, at, bits) in [
        ("reserved bits of the flags are ignored", 0, 0xc3),
        ("reserved bytes before the VNI are ignored", 2, 0xff),
        ("the reserved byte after the VNI is ignored", 7, 0xff),
    ] {
        let mut bytes = tunnel_from(FIRST, &inner).build();
        let vxlan = bytes.len() - frame.len() - 8;
        bytes[vxlan + at] |= bits;
        let expected = inner.clone().eth_destination(sandbox_mac(SLOT));
        let step = send_bytes(UPLINK_INGRESS, "eth0", bytes).is(Reason::Decapsulated);
        cases.push(case(family, name).then(step.sends(&expected)));
    }
    cases
}

/// The table of RFC 6040 §4.2.
pub fn congestion(family: Family) -> Vec<Case> {
    let table = [
        [Some(0), Some(0), Some(0), None],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(2), Some(1), Some(2), Some(3)],
        [Some(3), Some(3), Some(3), Some(3)],
    ];
    let mut cases = Vec::new();
    for (inner, row) in (0..).zip(table) {
        for (outer, expected) in (0..).zip(row) {
            for peer in [FIRST, SECOND] {
                let last = if peer == FIRST { ON_FIRST } else { ON_SECOND };
                let frame = incoming(family, last).udp(1, 2).tos(0x28 | inner);
                let packet = tunnel_from(peer, &frame).tos(0xa0 | outer);
                let name = format!("{inner} in {outer} from {peer} follows RFC 6040");
                let step = match expected {
                    Some(ecn) => delivered(&packet, &frame.tos(0x28 | ecn)),
                    None => arrives(&packet).is(Reason::TunnelCongested),
                };
                cases.push(case(family, &name).then(step));
            }
        }
    }
    cases
}

pub fn forged(family: Family) -> Vec<Case> {
    let inner = incoming(family, ON_FIRST).udp(1, 2);
    let packet = tunnel_from(FIRST, &inner);
    let dropped = |name: &str, packet: Packet, reason: Reason| {
        case(family, name).then(arrives(&packet).is(reason))
    };
    let mut cases = rows! { dropped;
        "a tunnel packet from an unknown address is dropped": packet.clone().source(Family::V4.client()), Reason::TunnelPeer;
        "a tunnel packet from the address of this node is dropped": packet.clone().source(Family::V4.host()), Reason::TunnelPeer;
        "a tunnel packet from another node than that of its source is dropped":
            tunnel_from(SECOND, &inner), Reason::TunnelSource;
        "a tunnel packet to another address of this node is not decapsulated":
            packet.clone().destination(Family::V4.host2()), Reason::NotOurs;
        "a tunnel packet to another port is not decapsulated": packet.clone().dport(TUNNEL_PORT + 1), Reason::NotOurs;
        "a first fragment of a tunnel packet is dropped": packet.clone().fragment(0, true), Reason::TunnelFragment;
        "a frame for another host is not decapsulated": packet.clone().eth_destination([2, 0, 0, 0, 9, 9]), Reason::NotOurs;
        "a VNI of no network is dropped":
            Packet::tunnel(FIRST, own(FIRST), VNI + 7, &inner.build()).eth(MAC_OUTSIDE, MAC_UPLINK), Reason::TunnelVni;
        "a VNI of another network is dropped":
            Packet::tunnel(FIRST, own(FIRST), VNI + 1, &inner.build()).eth(MAC_OUTSIDE, MAC_UPLINK), Reason::TunnelSource;
        "an empty tunnel packet is dropped": packet.clone().payload(&[]), Reason::TunnelHeader;
        "a truncated VXLAN header is dropped": packet.payload(&[8, 0, 0, 0]), Reason::TunnelHeader;
    };
    let bytes = tunnel_from(FIRST, &inner).build();
    let vxlan = bytes.len() - inner.build().len() - 8;
    let changed = |name: &str, at: usize, byte: u8, reason: Reason| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        case(family, name).then(send_bytes(UPLINK_INGRESS, "eth0", bytes).is(reason))
    };
    cases.extend(rows! { changed;
        "a header without a VNI is dropped": vxlan, 0, Reason::TunnelHeader;
        "a header of another version is dropped": vxlan, 0x18, Reason::TunnelHeader;
        "a header with another protocol inside is dropped": vxlan, 0x0c, Reason::TunnelHeader;
        "a UDP length that is too long is dropped": vxlan - 3, 0xff, Reason::TunnelHeader;
        "a UDP length that is too short is dropped": vxlan - 3, 20, Reason::TunnelHeader;
    });
    cases
}

pub fn forged_inside(family: Family) -> Vec<Case> {
    let inner = incoming(family, ON_FIRST).udp(1, 2);
    let dropped = |name: &str, inner: &[u8], reason: Reason| {
        let packet = Packet::tunnel(FIRST, own(FIRST), VNI, inner).eth(MAC_OUTSIDE, MAC_UPLINK);
        case(family, name).then(arrives(&packet).is(reason))
    };
    let bytes = inner.build();
    let own_sandbox = inner.clone().source(family.sandbox(13));
    let gateway = inner.clone().source(family.gateway(9));
    let arp = Packet::arp(
        1,
        (
            derived_mac(Family::V4.overlay(ON_FIRST)),
            Family::V4.overlay(ON_FIRST),
        ),
        ([0; 6], Family::V4.sandbox(SLOT)),
    );
    let mut longer = bytes.clone();
    let length = if family.is_v4() { 16 } else { 18 };
    longer[length + 1] += 1;
    let mut wrong_version = bytes.clone();
    wrong_version[14] = 0x75;
    let mut cases = rows! { dropped;
        "a source on another node is dropped": &inner.clone().source(family.overlay(ON_SECOND)).build(), Reason::TunnelSource;
        "a source on this node is dropped": &own_sandbox.build(), Reason::TunnelSource;
        "the gateway as source is dropped": &gateway.build(), Reason::TunnelSource;
        "a source outside is dropped": &inner.clone().source(family.client()).build(), Reason::TunnelSource;
        "a destination that no sandbox has is dropped": &inner.clone().destination(family.overlay(60)).build(), Reason::TunnelTarget;
        "a destination on another node is dropped": &inner.clone().destination(family.overlay(ON_SECOND)).build(), Reason::TunnelTarget;
        "a destination in another network is dropped": &inner.clone().destination(family.sandbox(1)).build(), Reason::TunnelTarget;
        "the node as destination is dropped": &inner.clone().destination(family.host()).build(), Reason::TunnelTarget;
        "the gateway as destination is dropped": &inner.clone().destination(family.gateway(9)).build(), Reason::TunnelTarget;
        "an ARP message is dropped": &arp.build(), Reason::TunnelInner;
        "a tagged frame is dropped": &inner.clone().vlan(5).build(), Reason::TunnelInner;
        "a frame with a priority tag is dropped": &inner.clone().vlan(0).build(), Reason::TunnelInner;
        "a broadcast frame is dropped": &inner.clone().eth_destination([0xff; 6]).build(), Reason::TunnelInner;
        "a frame from a multicast address is dropped": &inner.clone().eth([1, 0, 0, 0, 0, 1], sandbox_mac(SLOT)).build(), Reason::TunnelInner;
        "a truncated Ethernet header is dropped": &bytes[..10], Reason::TunnelHeader;
        "a truncated network header is dropped": &bytes[..30], Reason::TunnelInner;
        "a truncated transport header is dropped": &bytes[..bytes.len() - 20], Reason::TunnelInner;
        "a length beyond the frame is dropped": &longer, Reason::TunnelInner;
        "another IP version is dropped": &wrong_version, Reason::TunnelInner;
        "another ethertype is dropped": &Packet::ethertype(0x88b5, &[0; 40]).build(), Reason::TunnelInner;
    };
    // The link padding of the tunnel packet must not become a part of the packet inside.
    let mut frame = Packet::tunnel(FIRST, own(FIRST), VNI, &longer)
        .eth(MAC_OUTSIDE, MAC_UPLINK)
        .build();
    frame.extend([0; 8]);
    let step = send_bytes(UPLINK_INGRESS, "eth0", frame).is(Reason::TunnelInner);
    cases.push(case(family, "a length that reaches into link padding is dropped").then(step));
    let quiet = family.quiet_overlay(ON_FIRST);
    let frame = Packet::ip(quiet, family.sandbox(14))
        .eth(derived_mac(quiet), sandbox_mac(14))
        .udp(1, 2);
    let packet =
        Packet::tunnel(FIRST, own(FIRST), VNI + 1, &frame.build()).eth(MAC_OUTSIDE, MAC_UPLINK);
    cases.push(
        case(family, "a packet to a sandbox with icc off is dropped")
            .then(arrives(&packet).is(Reason::IccOff)),
    );
    cases
}
