//! Malformed packets (G-2): they must neither become valid nor remove a flow.

use netpath_common::checksum::checksum;

use super::{FAMILIES, UPLINK_PATHS, flow, opened};
use crate::sequence::{Group, Protocol, Sequence};

/// Changes to a frame.
type Mutation = fn(&mut Vec<u8>);

const IP: usize = 14;

const V4: &[(&str, Mutation)] = &[
    ("version 5", |f| edit(f, |p| p[0] = 0x55)),
    ("header of four words", |f| edit(f, |p| p[0] = 0x44)),
    ("header longer than the packet", |f| {
        edit(f, |p| p[0] = 0x4f)
    }),
    ("total length longer than the frame", |f| {
        edit(f, |p| p[3] += 8)
    }),
    ("total length shorter than its header", |f| {
        edit(f, |p| p[2..4].copy_from_slice(&[0, 19]))
    }),
    ("total length of the header alone", |f| {
        edit(f, |p| p[2..4].copy_from_slice(&[0, 20]))
    }),
    ("total length of half a header more", |f| {
        edit(f, |p| p[2..4].copy_from_slice(&[0, 26]));
    }),
    ("wrong header checksum", |f| f[IP + 10] ^= 0x80),
    ("reserved flag", |f| edit(f, |p| p[6] |= 0x80)),
    ("padding after the packet", |f| f.extend([0xee; 9])),
    ("half of a transport header", |f| shorten(f, 6)),
    ("quote of the ports only", |f| shorten(f, 4)),
    ("half a port", |f| shorten(f, 1)),
];

const V6: &[(&str, Mutation)] = &[
    ("version 5", |f| f[IP] = 0x50),
    ("payload length longer than the frame", |f| f[IP + 5] += 8),
    ("padding after the packet", |f| f.extend([0xee; 9])),
    ("half of a transport header", |f| shorten(f, 6)),
    ("quote of the ports only", |f| shorten(f, 4)),
    ("half a port", |f| shorten(f, 1)),
    ("payload length of zero", |f| f[IP + 4..IP + 6].fill(0)),
    ("payload length of half a header", |f| {
        f[IP + 4..IP + 6].copy_from_slice(&[0, 6])
    }),
    ("extension header longer than the packet", |f| {
        f[IP + 6] = 60;
        f[IP + 41] = 200;
    }),
];

const TCP: &[(&str, Mutation)] = &[
    ("data offset of four words", |f| {
        with_transport(f, |t| t[12] = 0x40)
    }),
    ("data offset beyond the packet", |f| {
        with_transport(f, |t| t[12] = 0xf0)
    }),
    ("wrong checksum", |f| with_transport(f, |t| t[16] ^= 0x10)),
    ("checksum of zero", |f| {
        with_transport(f, |t| t[16..18].fill(0))
    }),
];

const UDP: &[(&str, Mutation)] = &[
    ("UDP length longer than the packet", |f| {
        with_transport(f, |t| t[5] += 5)
    }),
    ("UDP length shorter than the packet", |f| {
        with_transport(f, |t| t[5] -= 5)
    }),
    ("UDP length shorter than its header", |f| {
        with_transport(f, |t| t[4..6].copy_from_slice(&[0, 7]))
    }),
    ("UDP length of zero", |f| {
        with_transport(f, |t| t[4..6].fill(0))
    }),
    ("wrong checksum", |f| with_transport(f, |t| t[6] ^= 0x10)),
];

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        for path in UPLINK_PATHS {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let flow = flow(protocol, path);
                let own = if protocol == Protocol::Tcp { TCP } else { UDP };
                let network = if v6 { V6 } else { V4 };
                for (what, mutation) in network.iter().chain(own) {
                    let name = format!("{} {}: {what}", path.0, protocol.name());
                    let spoiled = |p: netpath_tests::packet::Packet| {
                        let mut frame = p.build();
                        mutation(&mut frame);
                        vec![frame]
                    };
                    sequences.push(
                        opened(Sequence::new(Group::Malformed, v6, name), flow)
                            .frames(flow, true, spoiled)
                            .frames(flow, false, spoiled)
                            .forward(flow, |p| p)
                            .back(flow, |p| p),
                    );
                }
            }
        }
    }
    sequences
}

/// Changes an IPv4 header and recomputes its checksum.
fn edit(frame: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let header = &mut frame[IP..IP + 20];
    change(header);
    header[10..12].fill(0);
    let correct = checksum(header);
    header[10..12].copy_from_slice(&correct.to_ne_bytes());
}

/// Truncates the packet after this many bytes of its transport header.
fn shorten(frame: &mut Vec<u8>, left: usize) {
    if frame[IP] >> 4 == 4 {
        edit(frame, |header| {
            header[2..4].copy_from_slice(&[0, (20 + left) as u8])
        });
        frame.truncate(IP + 20 + left);
    } else {
        frame[IP + 4..IP + 6].copy_from_slice(&[0, left as u8]);
        frame.truncate(IP + 40 + left);
    }
}

fn with_transport(frame: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let header = if frame[IP] >> 4 == 4 { 20 } else { 40 };
    change(&mut frame[IP + header..]);
}
