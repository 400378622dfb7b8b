//! Headers that contradict each other, and header chains that are too long.

use std::net::IpAddr;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{Packet, SYN},
    prog::{ENDPOINT_IN, Family, UPLINK_EGRESS, UPLINK_INGRESS},
};

use crate::case::{Case, send_bytes};
use crate::{both, case, from_sandbox, inbound, leaving};

const ETHERNET: usize = 14;

pub fn cases() -> Vec<Case> {
    let mut cases = contradictions();
    cases.extend(both(cut));
    cases.extend(chains());
    cases
}

/// The same malformed packet at each hook. A sandbox's packet is dropped; a packet of the host is not changed.
fn damaged(
    family: Family,
    name: &str,
    reason: Reason,
    damage: impl Fn(Packet) -> Vec<u8>,
) -> Vec<Case> {
    let inbound = damage(inbound(family, family.host()).tcp(40_000, 8080, SYN));
    let outbound = damage(from_sandbox(family, 1, family.client()).tcp(40_000, 80, SYN));
    let leaving = damage(leaving(family, 1, family.client()).tcp(40_000, 80, SYN));
    let host = damage(Packet::ip(family.host(), family.client()).tcp(40_000, 80, SYN));
    // The kernel may accept a longer chain.
    let at_uplink = match reason {
        Reason::TooManyHeaders => Reason::NotOurs,
        reason => reason,
    };
    vec![
        case(family, &format!("{name}: dropped at the uplink"))
            .then(send_bytes(UPLINK_INGRESS, "eth0", inbound).is(at_uplink)),
        case(family, &format!("{name}: dropped at the endpoint"))
            .then(send_bytes(ENDPOINT_IN, "ve1", outbound).is(reason)),
        case(family, &format!("{name}: dropped with a private source"))
            .then(send_bytes(UPLINK_EGRESS, "eth0", leaving).is(reason)),
        case(family, &format!("{name}: unchanged from the host"))
            .then(send_bytes(UPLINK_EGRESS, "eth0", host).is(Reason::NotOurs)),
    ]
}

fn patched(at: usize, bytes: &'static [u8]) -> impl Fn(Packet) -> Vec<u8> {
    move |packet| {
        let mut packet = packet.build();
        packet[ETHERNET + at..ETHERNET + at + bytes.len()].copy_from_slice(bytes);
        packet
    }
}

/// An IPv4-mapped address in an IPv6 header must not match an address of the node or a sandbox (RFC 4291 §2.5.5.2).
fn mapped() -> Vec<Case> {
    let [v4, v6] = Family::BOTH;
    let with_mapped_addresses = |packet: Packet, from: IpAddr, to: IpAddr| {
        let mut packet = packet.build();
        for (at, ip) in [(8, from), (24, to)] {
            let IpAddr::V4(ip) = ip else { panic!("IPv4") };
            let octets = ip.to_ipv6_mapped().octets();
            packet[ETHERNET + at..ETHERNET + at + 16].copy_from_slice(&octets);
        }
        packet
    };
    let request = inbound(v6, v6.host()).tcp(40_000, 8080, SYN);
    let request = with_mapped_addresses(request, v4.client(), v4.host());
    let outbound = from_sandbox(v6, 1, v6.client()).tcp(40_000, 80, SYN);
    let outbound = with_mapped_addresses(outbound, v4.sandbox(1), v4.client());
    let leaving = leaving(v6, 1, v6.client()).tcp(40_000, 80, SYN);
    let leaving = with_mapped_addresses(leaving, v4.sandbox(1), v4.client());
    [
        ("is dropped at the uplink", UPLINK_INGRESS, "eth0", request),
        ("is dropped at the endpoint", ENDPOINT_IN, "ve1", outbound),
        (
            "does not leave by the uplink",
            UPLINK_EGRESS,
            "eth0",
            leaving,
        ),
    ]
    .map(|(what, program, device, packet)| {
        case(v6, &format!("an IPv4-mapped address {what}"))
            .then(send_bytes(program, device, packet).is(Reason::Martian))
    })
    .into()
}

fn contradictions() -> Vec<Case> {
    let [v4, v6] = Family::BOTH;
    [
        damaged(
            v4,
            "a transport header in the padding of the link",
            Reason::Malformed,
            |packet| {
                let mut packet = packet.build();
                packet[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&[0, 20]);
                packet
            },
        ),
        damaged(
            v6,
            "a transport header beyond the payload",
            Reason::Malformed,
            patched(4, &[0, 12]),
        ),
        mapped(),
        damaged(
            v4,
            "another version",
            Reason::Malformed,
            patched(0, &[0x65]),
        ),
        damaged(
            v4,
            "a header of four words",
            Reason::Malformed,
            patched(0, &[0x44]),
        ),
        damaged(
            v4,
            "a total length less than the header's",
            Reason::Malformed,
            patched(2, &[0, 19]),
        ),
        damaged(
            v4,
            "a total length beyond the end",
            Reason::Malformed,
            patched(2, &[1, 0]),
        ),
        damaged(
            v4,
            "a header longer than the total length",
            Reason::Malformed,
            |packet| patched(0, &[0x4f])(packet.payload(&[])),
        ),
        damaged(
            v6,
            "another version",
            Reason::Malformed,
            patched(0, &[0x45]),
        ),
        damaged(
            v6,
            "a payload beyond the end",
            Reason::Malformed,
            patched(4, &[1, 0]),
        ),
        damaged(
            v6,
            "an extension header beyond the end",
            Reason::Malformed,
            |packet| {
                let mut packet = packet.extension(60, &[1, 4, 0, 0, 0, 0]).build();
                packet[ETHERNET + 41] = 40;
                packet
            },
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cut(family: Family) -> Vec<Case> {
    // The first fragment of a datagram whose transport header continues in the second (RFC 1858 §3).
    let tiny = |packet: Packet| {
        let mut bytes = packet.payload(&[]).fragment(0, true).build();
        let cut = bytes.len() - 12;
        bytes.truncate(cut);
        let length = if family.is_v4() { 28_u16 } else { 8 + 8 };
        let at = ETHERNET + if family.is_v4() { 2 } else { 4 };
        bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    damaged(family, "a tiny first fragment", Reason::Malformed, tiny)
}

fn chains() -> Vec<Case> {
    let family = Family::BOTH[1];
    let many = |packet: Packet| {
        let add = |packet: Packet, _| packet.extension(60, &[1, 4, 0, 0, 0, 0]);
        (0..7).fold(packet, add).build()
    };
    let long = |packet: Packet| {
        let add = |packet: Packet, _| packet.extension(60, &[0; 238]);
        (0..3).fold(packet, add).build()
    };
    let mut cases = damaged(
        family,
        "seven extension headers",
        Reason::TooManyHeaders,
        many,
    );
    cases.extend(damaged(
        family,
        "extension headers of 720 bytes",
        Reason::TooManyHeaders,
        long,
    ));
    cases
}
