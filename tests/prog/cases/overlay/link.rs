//! Link addresses of sandboxes on other nodes, and tunnel packets that sandboxes must not send.

use std::net::IpAddr;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{
        Family, gateway_mac,
        overlay::{
            EXCEPTION, FIRST, FIRST_OTHERS, MAC_EXCEPTION, SECOND, TUNNEL_PORT, derived_mac,
        },
        sandbox_mac,
    },
};

use super::{ON_FIRST, SLOT};
use crate::case::Case;
use crate::{case, endpoint_sends};

/// A sandbox must not send tunnel packets to nodes: they would come from the address of its node.
pub fn guarded(family: Family) -> Vec<Case> {
    let to = |slot: u32, ip: IpAddr| {
        let from = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        Packet::ip(from.sandbox(slot), ip)
            .eth(sandbox_mac(slot), gateway_mac(slot))
            .udp(50_000, TUNNEL_PORT)
    };
    let dropped = |name: &str, slot: u32, packet: Packet| {
        case(family, name).then(endpoint_sends(slot, &packet).is(Reason::Tunnel))
    };
    let peer = if family.is_v4() { FIRST } else { SECOND };
    let other = if family.is_v4() {
        FIRST_OTHERS[0]
    } else {
        FIRST_OTHERS[1]
    };
    rows! { dropped;
        "a sandbox of an overlay network sends no tunnel packet to another node": SLOT, to(SLOT, peer);
        "a sandbox of a bridge network sends no tunnel packet to another node": 1, to(1, peer);
        "a sandbox sends no tunnel packet to another address of a node": 1, to(1, other);
        "a sandbox sends no first fragment of a tunnel packet": 1, to(1, peer).fragment(0, true);
        "a sandbox sends no tunnel packet to its own node": SLOT, to(SLOT, family.host());
    }
}

pub fn addresses() -> Vec<Case> {
    let family = Family::V4;
    let request = |slot: u32, target: IpAddr| {
        let sender = (sandbox_mac(slot), family.sandbox(slot));
        Packet::arp(1, sender, ([0; 6], target)).eth(sandbox_mac(slot), [0xff; 6])
    };
    let answered = |name: &str, last: u8, mac: [u8; 6]| {
        let target = family.overlay(last);
        let own = (sandbox_mac(SLOT), family.sandbox(SLOT));
        let reply = Packet::arp(2, (mac, target), own).eth(mac, sandbox_mac(SLOT));
        let step = endpoint_sends(SLOT, &request(SLOT, target)).is(Reason::Neighbour);
        case(family, name).then(step.sends(&reply))
    };
    let passes = |name: &str, slot: u32, target: IpAddr| {
        case(family, name).then(endpoint_sends(slot, &request(slot, target)).is(Reason::LinkLocal))
    };
    vec![
        answered(
            "an ARP request for a sandbox on another node is answered",
            ON_FIRST,
            derived_mac(family.overlay(ON_FIRST)),
        ),
        answered(
            "an ARP request for a sandbox with a MAC address of its own is answered",
            EXCEPTION,
            MAC_EXCEPTION,
        ),
        passes(
            "an ARP request for an address that no node has passes",
            SLOT,
            family.overlay(250),
        ),
        passes(
            "an ARP request for a sandbox on another node is not answered with icc off",
            14,
            family.quiet_overlay(ON_FIRST),
        ),
        passes(
            "an ARP request for another network's sandbox on another node passes",
            1,
            family.overlay(ON_FIRST),
        ),
        solicited(ON_FIRST),
        unknown_solicited(),
    ]
}

/// A neighbour solicitation of the sandbox for an address.
fn solicitation(target: IpAddr) -> Packet {
    let family = Family::V6;
    let IpAddr::V6(ip) = target else {
        unreachable!("IPv6")
    };
    let [.., a, b, c] = ip.octets();
    let group = family.pick([0; 4], &format!("ff02::1:ff{a:02x}:{b:02x}{c:02x}"));
    let mut body = ip.octets().to_vec();
    body.extend([1, 1]);
    body.extend(sandbox_mac(SLOT));
    Packet::ip(family.sandbox(SLOT), group)
        .eth(sandbox_mac(SLOT), [0x33, 0x33, 0xff, a, b, c])
        .icmp(135, 0, [0; 4])
        .payload(&body)
        .ttl(255)
}

fn solicited(last: u8) -> Case {
    let family = Family::V6;
    let target = family.overlay(last);
    let IpAddr::V6(ip) = target else {
        unreachable!("IPv6")
    };
    let mac = derived_mac(target);
    let mut body = ip.octets().to_vec();
    body.extend([2, 1]);
    body.extend(mac);
    let reply = Packet::ip(target, family.sandbox(SLOT))
        .eth(mac, sandbox_mac(SLOT))
        .icmp(136, 0, [0x60, 0, 0, 0])
        .payload(&body)
        .ttl(255);
    let step = endpoint_sends(SLOT, &solicitation(target)).is(Reason::Neighbour);
    case(
        family,
        "a solicitation for a sandbox on another node is answered",
    )
    .then(step.sends(&reply))
}

fn unknown_solicited() -> Case {
    let family = Family::V6;
    let packet = solicitation(family.overlay(250));
    case(
        family,
        "a solicitation for an address that no node has passes",
    )
    .then(endpoint_sends(SLOT, &packet).is(Reason::LinkLocal))
}
