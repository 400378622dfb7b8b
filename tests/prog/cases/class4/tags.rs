//! VLAN tags in the bytes of the packet.

use std::net::IpAddr;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{
        ENDPOINT_IN, Family, MAC_OUTSIDE, MAC_UPLINK, UPLINK_EGRESS, UPLINK_INGRESS, gateway_mac,
        sandbox_mac,
    },
};

use crate::case::{Case, send_bytes};
use crate::{both, case, from_sandbox, inbound};

pub fn cases() -> Vec<Case> {
    let mut cases = both(priority_tags);
    cases.extend(both(foreign_tags));
    cases.extend(both(private_sources));
    cases
}

/// A frame with VLAN tags of these ethertypes and identifiers, the outermost first.
fn tagged(packet: &Packet, tags: &[(u16, u16)]) -> Vec<u8> {
    let frame = packet.build();
    let (macs, rest) = frame.split_at(12);
    let tags = tags.iter().flat_map(|(kind, id)| {
        let priority = 0xa000;
        [kind.to_be_bytes(), (priority | id).to_be_bytes()].concat()
    });
    macs.iter()
        .copied()
        .chain(tags)
        .chain(rest.iter().copied())
        .collect()
}

/// IEEE 802.1Q and 802.1ad.
const Q: u16 = 0x8100;
const AD: u16 = 0x88a8;

fn priority_tags(family: Family) -> Vec<Case> {
    let request = inbound(family, family.host()).tcp(4000, 8080, 2);
    let delivered = Packet::ip(family.client(), family.sandbox(1))
        .eth(gateway_mac(1), sandbox_mac(1))
        .tcp(4000, 80, 2)
        .ttl(63);
    let to_sandbox = inbound(family, family.sandbox(1));
    let later = to_sandbox
        .clone()
        .udp(1, 2)
        .payload(&[0; 64])
        .fragment(9, false);
    let direct = to_sandbox.udp(1, 80);
    let sibling = from_sandbox(family, 1, family.sandbox(2)).eth(sandbox_mac(1), sandbox_mac(2));
    let ingress = |tags, packet: &Packet| send_bytes(UPLINK_INGRESS, "eth0", tagged(packet, tags));
    let inside = |tags, packet: &Packet| send_bytes(ENDPOINT_IN, "ve1", tagged(packet, tags));
    vec![
        case(
            family,
            "a priority-tagged packet to a published port is delivered untagged",
        )
        .then(
            ingress(&[(Q, 0)], &request)
                .is(Reason::Inbound)
                .sends(&delivered)
                .number_of_flows(1),
        ),
        case(
            family,
            "a packet with two priority tags is delivered untagged",
        )
        .then(
            ingress(&[(AD, 0), (Q, 0)], &request)
                .is(Reason::Inbound)
                .sends(&delivered)
                .number_of_flows(1),
        ),
        case(family, "a packet with three priority tags is dropped")
            .then(ingress(&[(Q, 0), (Q, 0), (Q, 0)], &request).is(Reason::Tagged)),
        case(family, "a priority-tagged packet to a sandbox is dropped")
            .then(ingress(&[(Q, 0)], &direct).is(Reason::DirectAccess)),
        case(
            family,
            "a priority-tagged later fragment to a sandbox is dropped",
        )
        .then(ingress(&[(Q, 0)], &later).is(Reason::DirectAccess)),
        case(
            family,
            "a priority-tagged packet to a sibling is redirected untagged",
        )
        .then(
            inside(&[(Q, 0)], &sibling.clone().udp(1, 2))
                .is(Reason::Sibling)
                .sends(&sibling.clone().udp(1, 2)),
        ),
        case(family, "a priority-tagged spoofed packet is dropped").then(
            inside(&[(Q, 0)], &sibling.source(family.sandbox(2)).udp(1, 2)).is(Reason::Spoofed),
        ),
    ]
}

fn foreign_tags(family: Family) -> Vec<Case> {
    let request = inbound(family, family.host()).tcp(4000, 8080, 2);
    let sibling = from_sandbox(family, 1, family.sandbox(2)).udp(1, 2);
    let foreign = |name: &str, tags: &[(u16, u16)]| {
        let packet = send_bytes(UPLINK_INGRESS, "eth0", tagged(&request, tags));
        case(family, &format!("{name} belongs to a VLAN device")).then(packet.is(Reason::NotOurs))
    };
    let inside = send_bytes(ENDPOINT_IN, "ve1", tagged(&sibling, &[(AD, 5), (Q, 0)]));
    vec![
        foreign("VLAN 5", &[(Q, 5)]),
        foreign("VLAN 0 in a service VLAN", &[(AD, 5), (Q, 0)]),
        case(family, "VLAN 0 in a service VLAN is dropped at an endpoint")
            .then(inside.is(Reason::UnknownProtocol)),
    ]
}

/// Frames with a tag in their bytes that leave the node.
fn private_sources(family: Family) -> Vec<Case> {
    let from = |source: IpAddr| Packet::ip(source, family.client()).eth(MAC_UPLINK, MAC_OUTSIDE);
    let leaves = |packet: &Packet| send_bytes(UPLINK_EGRESS, "eth0", tagged(packet, &[(Q, 0)]));
    vec![
        case(
            family,
            "a priority-tagged packet from an unused address of a network does not leave",
        )
        .then(leaves(&from(family.unused_address(1)).udp(1, 2)).is(Reason::PrivateSource)),
        case(
            family,
            "a priority-tagged packet of the node leaves unchanged",
        )
        .then(leaves(&from(family.host()).udp(1, 2)).is(Reason::NotOurs)),
        case(
            family,
            "a priority-tagged packet of a sandbox without a flow does not leave",
        )
        .then(leaves(&from(family.sandbox(1)).tcp(1, 2, 16)).is(Reason::NoFlow)),
    ]
}
