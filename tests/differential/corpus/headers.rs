//! Fields of the IP header (E-4, G-1, N-5, V6-6, D-3).

use netpath_common::checksum::checksum;
use netpath_tests::packet::Packet;

use crate::{
    pair::End,
    sequence::{Group, Protocol, Remote, Sequence},
};

use super::{FAMILIES, PATHS, UPLINK_PATHS, flow, opened};

const TOS: [u8; 8] = [0x00, 0x01, 0x02, 0x03, 0x10, 0xb8, 0xe0, 0xff];

/// IPv4 options: no operation, record route, timestamp, router alert, and an unassigned one.
const OPTIONS: [(&str, &[u8]); 5] = [
    ("no operation", &[1, 1, 1, 0]),
    ("record route", &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("timestamp", &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("router alert", &[148, 4, 0, 0]),
    ("unknown", &[0x9e, 4, 1, 2]),
];

/// Number and body of an extension header.
type Extension = (u8, &'static [u8]);

/// Chains of extension headers.
const EXTENSIONS: [(&str, &[Extension]); 4] = [
    ("hop-by-hop options", &[(0, &[1, 4, 0, 0, 0, 0])]),
    ("destination options", &[(60, &[1, 4, 0, 0, 0, 0])]),
    (
        "hop-by-hop and destination options",
        &[(0, &[1, 4, 0, 0, 0, 0]), (60, &[1, 4, 0, 0, 0, 0])],
    ),
    (
        "routing header without segments left",
        &[(43, &[2, 0, 0, 0, 0, 0])],
    ),
];

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        for path in PATHS {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let flow = flow(protocol, path);
                let name = |what: &str| {
                    let name = format!("{} {}: {what}", path.0, protocol.name());
                    Sequence::new(Group::Headers, v6, name)
                };
                let after_open = |what: &str| opened(name(what), flow);
                sequences.push(
                    TOS.iter()
                        .fold(after_open("types of service"), |sequence, tos| {
                            sequence
                                .forward(flow, |p| p.tos(*tos))
                                .back(flow, |p| p.tos(*tos))
                        }),
                );
                for ttl in [255, 3, 2, 1, 0] {
                    let sequence = after_open(&format!("TTL {ttl}"));
                    sequences.push(
                        sequence
                            .forward(flow, move |p| p.ttl(ttl))
                            .back(flow, move |p| p.ttl(ttl)),
                    );
                }
                let shape = move |p: Packet| match protocol {
                    Protocol::Tcp => p.flags(netpath_tests::packet::SYN).ttl(1),
                    _ => p.ttl(1),
                };
                sequences.push(name("first packet with TTL 1").forward(flow, shape));
                if v6 {
                    for (what, chain) in EXTENSIONS {
                        let shape = move |p: Packet| {
                            chain
                                .iter()
                                .fold(p, |p, (number, body)| p.extension(*number, body))
                        };
                        sequences.push(after_open(what).forward(flow, shape).back(flow, shape));
                    }
                    continue;
                }
                for (what, options) in OPTIONS {
                    let shape = |p: Packet| p.options(options);
                    sequences.push(after_open(what).forward(flow, shape).back(flow, shape));
                }
                sequences.push(
                    after_open("identifications")
                        .forward(flow, |p| p.id(0))
                        .back(flow, |p| p.id(0xffff)),
                );
                let unfragmented = |p: Packet| vec![dont_fragment(p.build())];
                sequences.push(
                    after_open("with DF")
                        .frames(flow, true, unfragmented)
                        .frames(flow, false, unfragmented),
                );
            }
        }
        sequences.extend(sizes(v6));
        for number in [4, 41, 47, 50, 51, 89, 132, 136, 253] {
            sequences.push(
                Sequence::new(Group::Headers, v6, format!("protocol {number} out")).send(
                    End::A1,
                    move |view| {
                        let to = view.remote(Remote::Peer);
                        let from = view.own(End::A1, Remote::Peer);
                        let packet = Packet::ip(from, to).protocol(number).payload(&[0x45; 40]);
                        view.eth(End::A1, packet, to)
                    },
                ),
            );
        }
    }
    sequences
}

/// Packets larger than the uplink's MTU (U-13, M-1, M-2): the sender gets an error, or the packet is fragmented.
fn sizes(v6: bool) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for path in UPLINK_PATHS {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let flow = flow(protocol, path);
            let forward = flow.server == End::Outside;
            let name = |what: &str| {
                let name = format!("{} {}: {what}", path.0, protocol.name());
                Sequence::new(Group::Headers, v6, name)
            };
            let headers = if v6 { 40 } else { 20 } + if protocol == Protocol::Tcp { 20 } else { 8 };
            let of_size = move |p: Packet, size: usize| p.payload(&vec![0x3c; size - headers]);
            for size in [1_489, 1_490, 1_491, 1_500] {
                let sized = move |p: Packet| vec![of_size(p, size).build()];
                let sequence = opened(name(&format!("{size} bytes")), flow);
                sequences.push(
                    sequence
                        .frames(flow, forward, sized)
                        .forward(flow, |p| p)
                        .back(flow, |p| p),
                );
                if !v6 {
                    let sized = move |p: Packet| vec![dont_fragment(of_size(p, size).build())];
                    let sequence = opened(name(&format!("{size} bytes, with DF")), flow);
                    sequences.push(sequence.frames(flow, forward, sized).forward(flow, |p| p));
                }
            }
        }
    }
    sequences
}

fn dont_fragment(mut frame: Vec<u8>) -> Vec<u8> {
    frame[20] |= 0x40;
    frame[24..26].fill(0);
    let correct = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&correct.to_ne_bytes());
    frame
}
