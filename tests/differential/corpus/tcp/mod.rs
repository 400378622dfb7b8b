//! Sequences of TCP segments (T-2), each on every path.

mod segment;
mod sequences;

use netpath_tests::packet::{ACK, FIN, Packet, SYN};

use crate::sequence::{Flow, Group, Protocol, Sequence};

use super::{FAMILIES, PATHS, flow};
use segment::Segment;
use sequences::SEQUENCES;

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        for path in PATHS {
            for (name, begin, rest) in SEQUENCES {
                let sequence = Sequence::new(Group::Tcp, v6, format!("{}: {name}", path.0));
                let segments = begin.iter().chain(*rest).copied();
                sequences.push(add_segments(sequence, flow(Protocol::Tcp, path), segments));
            }
        }
    }
    sequences
}

fn add_segments(
    mut sequence: Sequence,
    flow: Flow,
    segments: impl Iterator<Item = Segment>,
) -> Sequence {
    // For client and server: the next sequence number, and that of the previous segment.
    let mut next = [9_000_000_u32, 1_000];
    let mut before = next;
    for segment in segments {
        let own = usize::from(segment.client);
        let base = if segment.retransmission {
            before[own]
        } else {
            next[own]
        };
        let number = base.wrapping_add_signed(segment.shift);
        let acknowledged = if segment.flags & ACK == 0 {
            0
        } else {
            next[1 - own]
        };
        before[own] = number;
        let occupied = u32::from(segment.length)
            + u32::from(segment.flags & SYN != 0)
            + u32::from(segment.flags & FIN != 0);
        let is_out_of_sequence = segment.shift != 0 && segment.flags & SYN == 0;
        if !is_out_of_sequence && !segment.retransmission {
            next[own] = number.wrapping_add(occupied);
        }
        let shape = move |packet: Packet| {
            let payload: Vec<u8> = (0..segment.length).map(|byte| byte as u8).collect();
            packet
                .flags(segment.flags)
                .numbers(number, acknowledged)
                .window(segment.window, segment.urgent)
                .tcp_options(segment.options)
                .payload(&payload)
        };
        sequence = if segment.client {
            sequence.forward(flow, shape)
        } else {
            sequence.back(flow, shape)
        };
    }
    sequence
}
