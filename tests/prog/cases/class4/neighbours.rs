//! ARP and neighbour discovery of sandboxes.

use std::net::{IpAddr, Ipv6Addr};

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{Family, gateway_mac, sandbox_mac},
};

use crate::case::Case;
use crate::{case, endpoint_sends};

pub fn cases() -> Vec<Case> {
    let mut cases = arp();
    cases.extend(solicitations());
    cases.extend(options());
    cases
}

fn arp() -> Vec<Case> {
    let family = Family::BOTH[0];
    let request = |slot: u32, target: IpAddr| {
        let sender = (sandbox_mac(slot), family.sandbox(slot));
        Packet::arp(1, sender, ([0; 6], target)).eth(sandbox_mac(slot), [0xff; 6])
    };
    let reply = |mac: [u8; 6], address: IpAddr| {
        Packet::arp(2, (mac, address), (sandbox_mac(1), family.sandbox(1))).eth(mac, sandbox_mac(1))
    };
    let probe = Packet::arp(
        1,
        (sandbox_mac(1), family.pick([0; 4], "::")),
        ([0; 6], family.sandbox(2)),
    );
    let passes = |name: &str, slot: u32, packet: Packet| {
        case(family, name).then(endpoint_sends(slot, &packet).is(Reason::LinkLocal))
    };
    let answered = |name: &str, target: IpAddr, mac: [u8; 6]| {
        let step = endpoint_sends(1, &request(1, target)).is(Reason::Neighbour);
        case(family, name).then(step.sends(&reply(mac, target)))
    };
    vec![
        answered(
            "an ARP request for a sibling is answered",
            family.sandbox(2),
            sandbox_mac(2),
        ),
        answered(
            "an ARP request for the gateway is answered",
            family.gateway(1),
            gateway_mac(1),
        ),
        passes(
            "an ARP announcement passes",
            1,
            request(1, family.sandbox(1)),
        ),
        passes(
            "an ARP probe for a sibling's address passes",
            1,
            probe.eth(sandbox_mac(1), [0xff; 6]),
        ),
        passes(
            "an ARP request for an unused address passes",
            1,
            request(1, family.unused_address(1)),
        ),
        passes(
            "an ARP request for a sandbox of another network passes",
            1,
            request(1, family.sandbox(3)),
        ),
        passes(
            "an ARP request for a sibling is not answered with icc off",
            7,
            request(7, family.sandbox(8)),
        ),
    ]
}

/// An ICMPv6 message with a target address, and options.
pub fn message(slot: u32, source: IpAddr, kind: u8, target: IpAddr, options: &[u8]) -> Packet {
    let IpAddr::V6(target) = target else {
        panic!("neighbour discovery is IPv6");
    };
    Packet::ip(source, "ff02::1:ff00:1".parse().expect("address"))
        .eth(sandbox_mac(slot), [0x33, 0x33, 0xff, 0, 0, 1])
        .icmp(kind, 0, [0; 4])
        .ttl(255)
        .payload(&[&target.octets()[..], options].concat())
}

/// An option with a link address.
pub fn link_option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[kind, 1], &mac[..]].concat()
}

fn solicitations() -> Vec<Case> {
    let family = Family::BOTH[1];
    let option = link_option(1, sandbox_mac(1));
    let reply = |to: IpAddr, target: IpAddr, mac: [u8; 6], flags: u8| {
        let IpAddr::V6(octets) = target else {
            panic!("neighbour discovery is IPv6");
        };
        Packet::ip(target, to)
            .eth(mac, sandbox_mac(1))
            .icmp(136, 0, [flags, 0, 0, 0])
            .ttl(255)
            .payload(&[&octets.octets()[..], &link_option(2, mac)].concat())
    };
    let answered = |name: &str, source: IpAddr, target: IpAddr, mac: [u8; 6], flags: u8| {
        let packet = message(1, source, 135, target, &option);
        let step = endpoint_sends(1, &packet).is(Reason::Neighbour);
        case(family, name).then(step.sends(&reply(source, target, mac, flags)))
    };
    let passes = |name: &str, slot: u32, packet: Packet| {
        case(family, name).then(endpoint_sends(slot, &packet).is(Reason::LinkLocal))
    };
    let own = family.sandbox(1);
    let (sibling, gateway) = (family.sandbox(2), family.gateway(1));
    let quiet = message(
        7,
        family.sandbox(7),
        135,
        family.sandbox(8),
        &link_option(1, sandbox_mac(7)),
    );
    vec![
        answered(
            "a solicitation for a sibling is answered",
            own,
            sibling,
            sandbox_mac(2),
            0x60,
        ),
        answered(
            "a solicitation for the gateway is answered",
            own,
            gateway,
            gateway_mac(1),
            0xe0,
        ),
        answered(
            "a solicitation from the link-local address is answered",
            mac_address(1),
            sibling,
            sandbox_mac(2),
            0x60,
        ),
        passes(
            "a solicitation for an unused address passes",
            1,
            message(1, own, 135, family.unused_address(1), &option),
        ),
        passes(
            "a solicitation for a sandbox of another network passes",
            1,
            message(1, own, 135, family.sandbox(3), &option),
        ),
        passes(
            "a solicitation with a further option passes",
            1,
            message(
                1,
                own,
                135,
                sibling,
                &[&option[..], &[14, 1, 0, 0, 0, 0, 0, 0]].concat(),
            ),
        ),
        passes(
            "a solicitation that was forwarded passes",
            1,
            message(1, own, 135, sibling, &option).ttl(254),
        ),
        passes(
            "a solicitation for a sibling is not answered with icc off",
            7,
            quiet,
        ),
    ]
}

fn options() -> Vec<Case> {
    let family = Family::BOTH[1];
    let own = family.sandbox(1);
    let foreign = sandbox_mac(2);
    let spoofed = |name: &str, kind: u8, options: Vec<u8>| {
        let packet = message(1, own, kind, own, &options);
        case(family, name).then(endpoint_sends(1, &packet).is(Reason::Spoofed))
    };
    let router = Packet::ip(own, "ff02::2".parse().expect("address"))
        .eth(sandbox_mac(1), [0x33, 0x33, 0, 0, 0, 2])
        .icmp(133, 0, [0; 4])
        .ttl(255);
    let nonces = [14, 1, 0, 0, 0, 0, 0, 0].repeat(4);
    vec![
        spoofed(
            "an advertisement of a foreign link address is dropped",
            136,
            link_option(2, foreign),
        ),
        spoofed(
            "a solicitation from a foreign link address is dropped",
            135,
            link_option(1, foreign),
        ),
        spoofed(
            "a foreign link address in the second option is dropped",
            136,
            [link_option(2, sandbox_mac(1)), link_option(2, foreign)].concat(),
        ),
        spoofed(
            "an option of length zero is dropped",
            136,
            vec![2, 0, 0, 0, 0, 0, 0, 0],
        ),
        spoofed(
            "more options than are checked are dropped",
            136,
            [nonces, link_option(2, foreign)].concat(),
        ),
        case(
            family,
            "a router solicitation from a foreign link address is dropped",
        )
        .then(
            endpoint_sends(1, &router.clone().payload(&link_option(1, foreign)))
                .is(Reason::Spoofed),
        ),
        case(family, "a router solicitation from the sandbox passes").then(
            endpoint_sends(1, &router.payload(&link_option(1, sandbox_mac(1))))
                .is(Reason::LinkLocal),
        ),
        case(family, "a fragmented advertisement is dropped").then(
            endpoint_sends(
                1,
                &message(1, own, 136, own, &link_option(2, sandbox_mac(1))).fragment(0, true),
            )
            .is(Reason::Spoofed),
        ),
    ]
}

/// The link-local address that is derived from the MAC address of a sandbox.
pub fn mac_address(slot: u32) -> IpAddr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, slot as u16).into()
}
