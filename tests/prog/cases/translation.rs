//! Fields that a translation does not change, and checksums, which the test computes from scratch.

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{Checksum, Packet, SYN},
    prog::{Family, UPLINK_EGRESS, UPLINK_INGRESS},
};

use crate::case::{Case, send};
use crate::{both, case, delivered, inbound, leaving, published_packet};

pub fn cases() -> Vec<Case> {
    let mut cases = both(checksums);
    cases.extend(both(lengths));
    cases.extend(options());
    cases.extend(extensions());
    cases.extend(headers());
    cases
}

/// Inbound through a published port and outbound with the node's address: both directions and both kinds of
/// translation.
fn both_ways(name: &str, family: Family, shape: impl Fn(Packet) -> Packet) -> [Case; 2] {
    let (host, inside) = (family.host(), family.sandbox(1));
    let in_tcp = shape(inbound(family, host).tcp(40_000, 8080, SYN));
    let in_udp = shape(inbound(family, host).udp(40_000, 5353));
    let out_tcp = shape(leaving(family, 1, family.client()).tcp(40_000, 80, SYN));
    let out_udp = shape(leaving(family, 1, family.client()).udp(40_000, 53));
    let delivers = |packet: &Packet, dport| {
        send(UPLINK_INGRESS, "eth0", packet)
            .is(Reason::Inbound)
            .sends(&delivered(
                packet.clone().destination(inside).dport(dport),
                1,
            ))
    };
    let leaves = |packet: &Packet| {
        let expected = packet.clone().source(host);
        send(UPLINK_EGRESS, "eth0", packet)
            .is(Reason::Translated)
            .sends_with_port(move |port| expected.clone().sport(port))
    };
    [
        case(family, &format!("{name}, in"))
            .then(delivers(&in_tcp, 80).number_of_flows(1))
            .then(delivers(&in_udp, 53).number_of_flows(2)),
        case(family, &format!("{name}, out"))
            .then(leaves(&out_tcp).number_of_flows(1))
            .then(leaves(&out_udp).number_of_flows(2)),
    ]
}

fn checksums(family: Family) -> Vec<Case> {
    let absent = |packet: Packet| packet.checksum(Checksum::Absent);
    let query = absent(inbound(family, family.host()).udp(40_000, 5353));
    let datagram = absent(leaving(family, 1, family.client()).udp(61_500, 53));
    let mut cases = vec![
        case(family, "an absent UDP checksum stays absent")
            .then(published_packet(family, &query, 53))
            .then(
                send(UPLINK_EGRESS, "eth0", &datagram)
                    .is(Reason::Translated)
                    .sends(&datagram.clone().source(family.host()))
                    .number_of_flows(2),
            ),
        zero_after(family),
    ];
    for error in [1, 0x00ff, 0x8000, 0xfffe] {
        let name = format!("a checksum that is wrong by {error:#x} stays wrong");
        cases.extend(both_ways(&name, family, |packet| {
            packet.checksum(Checksum::WrongBy(error))
        }));
        if family.is_v4() {
            let name = format!("a header checksum that is wrong by {error:#x} stays wrong");
            cases.extend(both_ways(&name, family, |packet| {
                packet.header_error(error)
            }));
        }
    }
    cases
}

/// A datagram whose correct checksum after translation is zero, which is sent as all ones (RFC 768).
fn zero_after(family: Family) -> Case {
    let shape = |word: u16, packet: Packet| packet.payload(&word.to_be_bytes());
    let request = |word| shape(word, leaving(family, 1, family.client()).udp(61_500, 53));
    let is_zero = |word: &u16| {
        let bytes = request(*word).source(family.host()).build();
        let checksum = bytes.len() - 2 - 2;
        bytes[checksum..checksum + 2] == [0xff, 0xff]
    };
    let word = (0..=u16::MAX)
        .find(is_zero)
        .expect("some word makes it zero");
    case(
        family,
        "a UDP checksum that becomes zero is sent as all ones",
    )
    .then(
        send(UPLINK_EGRESS, "eth0", &request(word))
            .is(Reason::Translated)
            .sends(&request(word).source(family.host()))
            .number_of_flows(1),
    )
}

fn lengths(family: Family) -> Vec<Case> {
    [0, 1, 2, 3, 17, 1400]
        .into_iter()
        .flat_map(|length| {
            both_ways(&format!("{length} bytes of payload"), family, |packet| {
                packet.payload(&vec![0xa5; length])
            })
        })
        .collect()
}

fn options() -> Vec<Case> {
    let family = Family::BOTH[0];
    (6..=15)
        .flat_map(|words: usize| {
            // A record-route option without room, then the end of the option list.
            let length = (words - 5) * 4;
            let mut options = vec![7, length as u8, length as u8 + 1];
            options.resize(length, 0);
            both_ways(
                &format!("an IPv4 header of {words} words"),
                family,
                |packet| packet.options(&options),
            )
        })
        .collect()
}

fn extensions() -> Vec<Case> {
    let family = Family::BOTH[1];
    let mut cases = Vec::new();
    for (name, number) in [
        ("hop-by-hop options", 0),
        ("a routing header", 43),
        ("destination options", 60),
    ] {
        // A PadN option, and a routing header of an unused type without segments left.
        for size in [6_usize, 14] {
            let mut body = vec![1, size as u8 - 2];
            if number == 43 {
                body = vec![253, 0];
            }
            body.resize(size, 0);
            let name = format!("{name} of {} bytes", size + 2);
            cases.extend(both_ways(&name, family, |packet| {
                packet.extension(number, &body)
            }));
        }
    }
    cases.extend(both_ways("an atomic fragment", family, |packet| {
        packet.fragment(0, false)
    }));
    cases.extend(both_ways("four extension headers", family, |packet| {
        packet
            .extension(0, &[1, 4, 0, 0, 0, 0])
            .extension(60, &[1, 4, 0, 0, 0, 0])
            .extension(43, &[253, 0, 0, 0, 0, 0])
            .extension(60, &[1, 4, 0, 0, 0, 0])
    }));
    cases
}

fn headers() -> Vec<Case> {
    let all = |name: &str, shape: fn(Packet) -> Packet| {
        both(|family| both_ways(name, family, shape).into())
    };
    [
        all("a type of service", |packet| packet.tos(0xb9)),
        all("an identification", |packet| packet.id(0xbeef)),
        all("the smallest TTL that is forwarded", |packet| packet.ttl(2)),
        all("the largest TTL", |packet| packet.ttl(255)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
