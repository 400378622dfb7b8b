//! Anti-spoofing: a sandbox sends from its own addresses only, and never as its gateway.

use std::net::{IpAddr, Ipv6Addr};

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{ENDPOINT_IN, Family, gateway_mac, sandbox_mac},
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

fn addresses(family: Family) -> Vec<Case> {
    let packet = from_sandbox(family, 1, family.client()).udp(1, 2);
    let spoofed = |name: &str, packet: Packet| {
        case(family, name).then(endpoint_sends(1, &packet).is(Reason::Spoofed))
    };
    let unspecified = family.pick([0, 0, 0, 0], "::");
    let mut cases = rows! { spoofed;
        "another MAC address is dropped": packet.clone().eth(sandbox_mac(2), gateway_mac(1));
        "a MAC address that differs in its last byte is dropped": packet.clone().eth([2, 0, 0, 0, 0, 0x81], gateway_mac(1));
        "a sibling's address is dropped": packet.clone().source(family.sandbox(2));
        "the gateway's address is dropped": packet.clone().source(family.gateway(1));
        "the node's address is dropped": packet.clone().source(family.host());
        "an address outside is dropped": packet.clone().source(family.unlisted_client());
        "the unspecified source is dropped": packet.clone().source(unspecified);
        "a spoofed later fragment is dropped": packet.clone().source(family.sandbox(2)).fragment(9, false);
        "a spoofed packet of an unknown protocol is dropped": packet.clone().source(family.sandbox(2)).protocol(50);
    };
    if !family.is_v4() {
        let four = |source: IpAddr| {
            let packet = Packet::ip(source, family.client()).eth(sandbox_mac(11), gateway_mac(11));
            endpoint_sends(11, &packet.udp(1, 2)).is(Reason::Spoofed)
        };
        cases.extend([
            case(family, "a sandbox without IPv6 sends no IPv6 packet")
                .then(four(family.sandbox(11))),
            case(
                family,
                "a sandbox without IPv6 sends none from the unspecified address",
            )
            .then(four(unspecified)),
        ]);
    }
    cases
}

fn arp() -> Vec<Case> {
    let family = Family::BOTH[0];
    let own = (sandbox_mac(1), family.sandbox(1));
    let wanted = ([0; 6], family.gateway(1));
    let message = |name: &str, operation, sender, target, reason| {
        let packet = Packet::arp(operation, sender, target).eth(sandbox_mac(1), [0xff; 6]);
        case(family, name).then(endpoint_sends(1, &packet).is(reason))
    };
    let unspecified = family.pick([0, 0, 0, 0], "::");
    let short = Packet::ethertype(0x0806, &[0; 20]).eth(sandbox_mac(1), [0xff; 6]);
    vec![
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
            (own.0, unspecified),
            wanted,
            Reason::LinkLocal,
        ),
        message(
            "ARP for the gateway's address is dropped",
            2,
            (own.0, family.gateway(1)),
            wanted,
            Reason::Spoofed,
        ),
        message(
            "ARP for a sibling's address is dropped",
            2,
            (own.0, family.sandbox(2)),
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
        case(family, "a short ARP message is dropped")
            .then(endpoint_sends(1, &short).is(Reason::Malformed)),
    ]
}

/// An ICMPv6 message with a target address.
fn about(source: IpAddr, destination: &str, kind: u8, target: IpAddr) -> Packet {
    let family = Family::BOTH[1];
    let target = match target {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(_) => [0; 16],
    };
    Packet::ip(source, family.pick([0; 4], destination))
        .eth(sandbox_mac(1), [0x33, 0x33, 0, 0, 0, 1])
        .icmp(kind, 0, [0; 4])
        .ttl(255)
        .payload(&target)
}

fn neighbours() -> Vec<Case> {
    let family = Family::BOTH[1];
    let own = family.sandbox(1);
    let link: IpAddr = "fe80::1:2".parse().expect("address");
    let unspecified = Ipv6Addr::UNSPECIFIED.into();
    let (router, sibling) = (family.gateway(1), family.sandbox(2));
    let message = |name: &str, packet: Packet, reason| {
        case(family, name).then(endpoint_sends(1, &packet).is(reason))
    };
    let pass = Reason::LinkLocal;
    let drop = Reason::Spoofed;
    rows! { message;
        "a solicitation from the sandbox's address passes": about(own, "ff02::1:ff00:1", 135, router), pass;
        "a solicitation from the link-local address passes": about(link, "ff02::1:ff00:1", 135, router), pass;
        "duplicate address detection passes": about(unspecified, "ff02::1:ff00:1", 135, own), pass;
        "a solicitation from a sibling's address is dropped": about(sibling, "ff02::1:ff00:1", 135, router), drop;
        "an advertisement of the sandbox's address passes": about(own, "ff02::1", 136, own), pass;
        "an advertisement of the link-local address passes": about(link, "ff02::1", 136, link), pass;
        "an advertisement of the gateway's address is dropped": about(own, "ff02::1", 136, router), drop;
        "an advertisement of a sibling's address is dropped": about(link, "ff02::1", 136, sibling), drop;
        "an advertisement from a sibling's address is dropped": about(sibling, "ff02::1", 136, own), drop;
        "a truncated advertisement is dropped": about(own, "ff02::1", 136, own).payload(&[0; 8]), drop;
        "a router solicitation passes": about(link, "ff02::2", 133, unspecified).payload(&[]), pass;
        "a router advertisement is dropped": about(link, "ff02::1", 134, unspecified), drop;
        "a redirect is dropped": about(link, "ff02::1", 137, router), drop;
        "a multicast listener report passes": about(link, "ff02::16", 143, unspecified), pass;
        "a report after hop-by-hop options passes": about(link, "ff02::16", 143, unspecified).extension(0, &[5, 2, 0, 0, 1, 0]), pass;
        "a link-local source is not routed": about(link, "2001:db8:51::7", 128, unspecified), drop;
    }
}

fn link(family: Family) -> Vec<Case> {
    let to = |slot, destination| from_sandbox(family, slot, destination).udp(1, 2);
    let multicast = family.pick([224, 0, 0, 251], "ff02::fb");
    let loopback = family.pick([127, 0, 0, 1], "::1");
    let unspecified = family.pick([0, 0, 0, 0], "::");
    let mut cases = vec![
        case(family, "multicast is passed to the bridge")
            .then(endpoint_sends(1, &to(1, multicast)).is(Reason::LinkLocal)),
        case(
            family,
            "multicast is dropped without inter-container communication",
        )
        .then(endpoint_sends(7, &to(7, multicast)).is(Reason::IccOff)),
        case(family, "a loopback destination is dropped")
            .then(endpoint_sends(1, &to(1, loopback)).is(Reason::Martian)),
        case(family, "the unspecified destination is dropped")
            .then(endpoint_sends(1, &to(1, unspecified)).is(Reason::Martian)),
    ];
    if !family.is_v4() {
        let link_local = family.pick([0; 4], "fe80::9");
        cases.push(
            case(family, "link-local traffic is passed to the bridge")
                .then(endpoint_sends(1, &to(1, link_local)).is(Reason::LinkLocal)),
        );
    }
    if family.is_v4() {
        let broadcast = family.pick([255; 4], "");
        cases.push(
            case(family, "broadcast is passed to the bridge")
                .then(endpoint_sends(1, &to(1, broadcast)).is(Reason::LinkLocal)),
        );
    }
    cases
}

/// Packets that do not address the gateway's MAC address; the bridge would deliver them to another port.
fn past_the_gateway(family: Family) -> Vec<Case> {
    let to = |destination| from_sandbox(family, 1, destination);
    let sibling = |packet: Packet| packet.eth(sandbox_mac(1), sandbox_mac(2));
    vec![
        case(
            family,
            "a packet to the host must have the gateway's MAC address",
        )
        .then(endpoint_sends(1, &sibling(to(family.host()).udp(1, 2))).is(Reason::NotGateway)),
        case(
            family,
            "a packet to the outside must have the gateway's MAC address",
        )
        .then(endpoint_sends(1, &sibling(to(family.client()).udp(1, 2))).is(Reason::NotGateway)),
        case(family, "a packet to a tunnel port of the host is dropped")
            .then(endpoint_sends(1, &to(family.host()).udp(49_152, 4789)).is(Reason::Tunnel)),
    ]
}

fn others() -> Vec<Case> {
    let family = Family::BOTH[0];
    let packet = from_sandbox(family, 1, family.client()).udp(1, 2);
    let frame = |ethertype| Packet::ethertype(ethertype, &[0; 46]).eth(sandbox_mac(1), [0xff; 6]);
    vec![
        case(family, "a VLAN tag in the packet is dropped")
            .then(endpoint_sends(1, &packet.clone().vlan(5)).is(Reason::UnknownProtocol)),
        case(family, "another ethertype is dropped")
            .then(endpoint_sends(1, &frame(0x88b5)).is(Reason::UnknownProtocol)),
        case(family, "a length instead of an ethertype is dropped")
            .then(endpoint_sends(1, &frame(46)).is(Reason::UnknownProtocol)),
        case(family, "a packet from a device without endpoint is dropped")
            .then(send(ENDPOINT_IN, "lan0", &packet).is(Reason::EndpointGone)),
    ]
}
