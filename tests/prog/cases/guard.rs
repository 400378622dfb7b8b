//! Anti-spoofing: a sandbox sends from its own addresses only, and never as its gateway.

use std::net::{IpAddr, Ipv6Addr};

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{ENDPOINT_IN, Side, gateway_mac, sandbox_mac},
};

use crate::case::{Case, send};
use crate::{both, case, endpoint_sends, from_sandbox};

pub fn cases() -> Vec<Case> {
    let mut cases = both(addresses);
    cases.extend(arp());
    cases.extend(neighbours());
    cases.extend(both(link));
    cases.extend(both(past_the_gateway));
    cases.extend(others());
    cases
}

fn addresses(side: Side) -> Vec<Case> {
    let packet = from_sandbox(side, 1, side.client()).udp(1, 2);
    let spoofed = |name: &str, packet: Packet| {
        case(side, name).then(endpoint_sends(1, &packet).is(Reason::Spoofed))
    };
    let unspecified = side.pick([0, 0, 0, 0], "::");
    let mut cases = rows! { spoofed;
        "another MAC address is dropped": packet.clone().eth(sandbox_mac(2), gateway_mac(1));
        "a MAC address that differs in its last byte is dropped": packet.clone().eth([2, 0, 0, 0, 0, 0x81], gateway_mac(1));
        "a sibling's address is dropped": packet.clone().source(side.sandbox(2));
        "the gateway's address is dropped": packet.clone().source(side.gateway(1));
        "the node's address is dropped": packet.clone().source(side.host());
        "an address outside is dropped": packet.clone().source(side.stranger());
        "the unspecified source is dropped": packet.clone().source(unspecified);
        "a spoofed later fragment is dropped": packet.clone().source(side.sandbox(2)).fragment(9, false);
        "a spoofed packet of an unknown protocol is dropped": packet.clone().source(side.sandbox(2)).protocol(50);
    };
    if !side.is_v4() {
        let four = |source: IpAddr| {
            let packet = Packet::ip(source, side.client()).eth(sandbox_mac(11), gateway_mac(11));
            endpoint_sends(11, &packet.udp(1, 2)).is(Reason::Spoofed)
        };
        cases.extend([
            case(side, "a sandbox without IPv6 sends no IPv6 packet").then(four(side.sandbox(11))),
            case(
                side,
                "a sandbox without IPv6 sends none from the unspecified address",
            )
            .then(four(unspecified)),
        ]);
    }
    cases
}

fn arp() -> Vec<Case> {
    let side = Side::BOTH[0];
    let own = (sandbox_mac(1), side.sandbox(1));
    let wanted = ([0; 6], side.gateway(1));
    let message = |name: &str, operation, sender, target, reason| {
        let packet = Packet::arp(operation, sender, target).eth(sandbox_mac(1), [0xff; 6]);
        case(side, name).then(endpoint_sends(1, &packet).is(reason))
    };
    let nobody = side.pick([0, 0, 0, 0], "::");
    let short = Packet::ethertype(0x0806, &[0; 20]).eth(sandbox_mac(1), [0xff; 6]);
    vec![
        message(
            "an ARP request from the sandbox's address passes",
            1,
            own,
            wanted,
            Reason::LinkLocal,
        ),
        message(
            "an ARP reply from the sandbox's address passes",
            2,
            own,
            wanted,
            Reason::LinkLocal,
        ),
        message(
            "an ARP probe passes",
            1,
            (own.0, nobody),
            wanted,
            Reason::LinkLocal,
        ),
        message(
            "ARP for the gateway's address is dropped",
            2,
            (own.0, side.gateway(1)),
            wanted,
            Reason::Spoofed,
        ),
        message(
            "ARP for a sibling's address is dropped",
            2,
            (own.0, side.sandbox(2)),
            wanted,
            Reason::Spoofed,
        ),
        message(
            "ARP with another MAC address is dropped",
            1,
            (sandbox_mac(2), own.1),
            wanted,
            Reason::Spoofed,
        ),
        case(side, "a short ARP message is dropped")
            .then(endpoint_sends(1, &short).is(Reason::Malformed)),
    ]
}

/// An ICMPv6 message with a target address.
fn about(source: IpAddr, destination: &str, kind: u8, target: IpAddr) -> Packet {
    let side = Side::BOTH[1];
    let target = match target {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(_) => [0; 16],
    };
    Packet::ip(source, side.pick([0; 4], destination))
        .eth(sandbox_mac(1), [0x33, 0x33, 0, 0, 0, 1])
        .icmp(kind, 0, [0; 4])
        .ttl(255)
        .payload(&target)
}

fn neighbours() -> Vec<Case> {
    let side = Side::BOTH[1];
    let own = side.sandbox(1);
    let link: IpAddr = "fe80::1:2".parse().expect("address");
    let nobody = Ipv6Addr::UNSPECIFIED.into();
    let (router, sibling) = (side.gateway(1), side.sandbox(2));
    let message = |name: &str, packet: Packet, reason| {
        case(side, name).then(endpoint_sends(1, &packet).is(reason))
    };
    let pass = Reason::LinkLocal;
    let drop = Reason::Spoofed;
    rows! { message;
        "a solicitation from the sandbox's address passes": about(own, "ff02::1:ff00:1", 135, router), pass;
        "a solicitation from the link-local address passes": about(link, "ff02::1:ff00:1", 135, router), pass;
        "duplicate address detection passes": about(nobody, "ff02::1:ff00:1", 135, own), pass;
        "a solicitation from a sibling's address is dropped": about(sibling, "ff02::1:ff00:1", 135, router), drop;
        "an advertisement of the sandbox's address passes": about(own, "ff02::1", 136, own), pass;
        "an advertisement of the link-local address passes": about(link, "ff02::1", 136, link), pass;
        "an advertisement of the gateway's address is dropped": about(own, "ff02::1", 136, router), drop;
        "an advertisement of a sibling's address is dropped": about(link, "ff02::1", 136, sibling), drop;
        "an advertisement from a sibling's address is dropped": about(sibling, "ff02::1", 136, own), drop;
        "a truncated advertisement is dropped": about(own, "ff02::1", 136, own).payload(&[0; 8]), drop;
        "a router solicitation passes": about(link, "ff02::2", 133, nobody), pass;
        "a router advertisement is dropped": about(link, "ff02::1", 134, nobody), drop;
        "a redirect is dropped": about(link, "ff02::1", 137, router), drop;
        "a multicast listener report passes": about(link, "ff02::16", 143, nobody), pass;
        "a report after hop-by-hop options passes": about(link, "ff02::16", 143, nobody).extension(0, &[5, 2, 0, 0, 1, 0]), pass;
        "a link-local source is not routed": about(link, "2001:db8:51::7", 128, nobody), drop;
    }
}

fn link(side: Side) -> Vec<Case> {
    let to = |slot, destination| from_sandbox(side, slot, destination).udp(1, 2);
    let multicast = side.pick([224, 0, 0, 251], "ff02::fb");
    let loopback = side.pick([127, 0, 0, 1], "::1");
    let nobody = side.pick([0, 0, 0, 0], "::");
    let mut cases = vec![
        case(side, "multicast is left to the bridge")
            .then(endpoint_sends(1, &to(1, multicast)).is(Reason::LinkLocal)),
        case(
            side,
            "multicast is dropped without inter-container communication",
        )
        .then(endpoint_sends(7, &to(7, multicast)).is(Reason::IccOff)),
        case(side, "a loopback destination is dropped")
            .then(endpoint_sends(1, &to(1, loopback)).is(Reason::Martian)),
        case(side, "the unspecified destination is dropped")
            .then(endpoint_sends(1, &to(1, nobody)).is(Reason::Martian)),
    ];
    if !side.is_v4() {
        let link_local = side.pick([0; 4], "fe80::9");
        cases.push(
            case(side, "link-local traffic is left to the bridge")
                .then(endpoint_sends(1, &to(1, link_local)).is(Reason::LinkLocal)),
        );
    }
    if side.is_v4() {
        let broadcast = side.pick([255; 4], "");
        cases.push(
            case(side, "broadcast is left to the bridge")
                .then(endpoint_sends(1, &to(1, broadcast)).is(Reason::LinkLocal)),
        );
    }
    cases
}

/// Packets that do not address the gateway's MAC address; the bridge would deliver them to another port.
fn past_the_gateway(side: Side) -> Vec<Case> {
    let to = |destination| from_sandbox(side, 1, destination);
    let sibling = |packet: Packet| packet.eth(sandbox_mac(1), sandbox_mac(2));
    vec![
        case(
            side,
            "a packet to the host must have the gateway's MAC address",
        )
        .then(endpoint_sends(1, &sibling(to(side.host()).udp(1, 2))).is(Reason::NotGateway)),
        case(
            side,
            "a packet to the outside must have the gateway's MAC address",
        )
        .then(endpoint_sends(1, &sibling(to(side.client()).udp(1, 2))).is(Reason::NotGateway)),
        case(side, "a packet to a tunnel port of the host is dropped")
            .then(endpoint_sends(1, &to(side.host()).udp(49_152, 4789)).is(Reason::Tunnel)),
    ]
}

fn others() -> Vec<Case> {
    let side = Side::BOTH[0];
    let packet = from_sandbox(side, 1, side.client()).udp(1, 2);
    let frame = |ethertype| Packet::ethertype(ethertype, &[0; 46]).eth(sandbox_mac(1), [0xff; 6]);
    vec![
        case(side, "a VLAN tag in the packet is dropped")
            .then(endpoint_sends(1, &packet.clone().vlan(5)).is(Reason::UnknownProtocol)),
        case(side, "another ethertype is dropped")
            .then(endpoint_sends(1, &frame(0x88b5)).is(Reason::UnknownProtocol)),
        case(side, "a length instead of an ethertype is dropped")
            .then(endpoint_sends(1, &frame(46)).is(Reason::UnknownProtocol)),
        case(side, "a packet from a device without endpoint is dropped")
            .then(send(ENDPOINT_IN, "lan0", &packet).is(Reason::EndpointGone)),
    ]
}
