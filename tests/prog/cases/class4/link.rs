//! Link-local addresses of sandboxes.

use std::net::{IpAddr, Ipv6Addr};

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{Family, sandbox_mac},
};

use super::neighbours::{link_option, mac_address, message};
use crate::case::Case;
use crate::{case, endpoint_sends, from_sandbox};

fn link_address(last: u16) -> IpAddr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, last).into()
}

pub fn cases() -> Vec<Case> {
    let family = Family::BOTH[1];
    let unspecified: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    let own = family.sandbox(1);
    let data = |slot: u32, source: IpAddr| {
        Packet::ip(source, link_address(99))
            .eth(sandbox_mac(slot), sandbox_mac(2))
            .udp(1, 2)
    };
    let advertises = |slot, target| {
        message(
            slot,
            family.sandbox(slot),
            136,
            target,
            &link_option(2, sandbox_mac(slot)),
        )
    };
    let detects = |slot, target| message(slot, unspecified, 135, target, &[]);
    let gateway: IpAddr = "fe80::ff:fe00:101".parse().expect("address");
    let v4 = Family::BOTH[0];
    let drop = |name: &str, slot: u32, packet: Packet| {
        case(family, name).then(endpoint_sends(slot, &packet).is(Reason::LinkSpoofed))
    };
    let pass = |name: &str, slot: u32, packet: Packet| {
        case(family, name).then(endpoint_sends(slot, &packet).is(Reason::LinkLocal))
    };
    let claimed = |name: &str, address: IpAddr, packet: Packet| {
        case(family, name)
            .then(endpoint_sends(1, &detects(1, address)).is(Reason::LinkLocal))
            .then(endpoint_sends(2, &packet).is(Reason::LinkSpoofed))
            .then(endpoint_sends(1, &data(1, address)).is(Reason::LinkLocal))
    };
    let renewed = case(family, "an address that its owner has replaced is free")
        .then(endpoint_sends(1, &data(1, link_address(20))).is(Reason::LinkLocal))
        .then(endpoint_sends(2, &data(2, link_address(20))).is(Reason::LinkSpoofed))
        .then(endpoint_sends(1, &data(1, link_address(21))).is(Reason::LinkLocal))
        .then(endpoint_sends(1, &data(1, link_address(22))).is(Reason::LinkLocal))
        .then(endpoint_sends(2, &data(2, link_address(20))).is(Reason::LinkLocal))
        .then(endpoint_sends(1, &data(1, link_address(20))).is(Reason::LinkSpoofed));
    let elsewhere = case(family, "an address of another network is free")
        .then(endpoint_sends(1, &data(1, link_address(30))).is(Reason::LinkLocal))
        .then(endpoint_sends(3, &data(3, link_address(30))).is(Reason::LinkLocal));
    vec![
        pass(
            "data from the link-local address of the MAC address passes",
            1,
            data(1, mac_address(1)),
        ),
        drop(
            "data from a sibling's link-local address is dropped",
            1,
            data(1, mac_address(2)),
        ),
        drop(
            "data from the gateway's link-local address is dropped",
            1,
            data(1, gateway),
        ),
        drop(
            "an advertisement of a sibling's link-local address is dropped",
            1,
            advertises(1, mac_address(2)),
        ),
        drop(
            "an advertisement of the gateway's link-local address is dropped",
            1,
            advertises(1, gateway),
        ),
        drop(
            "duplicate address detection of a sibling's link-local address is dropped",
            1,
            detects(1, mac_address(2)),
        ),
        drop(
            "a solicitation from a sibling's link-local address is dropped",
            1,
            message(1, mac_address(2), 135, own, &[]),
        ),
        claimed(
            "data from a sibling's random address is dropped",
            link_address(1),
            data(2, link_address(1)),
        ),
        claimed(
            "an advertisement of a sibling's random address is dropped",
            link_address(2),
            advertises(2, link_address(2)),
        ),
        claimed(
            "duplicate address detection of a sibling's random address is dropped",
            link_address(3),
            detects(2, link_address(3)),
        ),
        renewed,
        elsewhere,
        case(
            family,
            "duplicate address detection of a sibling's address is dropped",
        )
        .then(endpoint_sends(1, &detects(1, family.sandbox(2))).is(Reason::Spoofed)),
        case(v4, "an IPv4 link-local source is dropped").then(
            endpoint_sends(
                1,
                &from_sandbox(v4, 1, v4.client())
                    .source([169, 254, 1, 1].into())
                    .udp(1, 2),
            )
            .is(Reason::LinkSpoofed),
        ),
        case(v4, "an IPv4 link-local source on the link is dropped").then(
            endpoint_sends(
                1,
                &from_sandbox(v4, 1, [224, 0, 0, 251].into())
                    .source([169, 254, 1, 1].into())
                    .udp(1, 2),
            )
            .is(Reason::LinkSpoofed),
        ),
    ]
}
