//! The fixed sequences.

mod echo;
mod errors;
mod filtering;
mod fragments;
mod headers;
mod malformed;
mod tcp;
mod udp;

use crate::{
    pair::End,
    sequence::{Flow, Group, Protocol, Sequence},
};

/// All sequences.
pub fn all() -> Vec<Sequence> {
    let groups = [
        tcp::sequences as fn() -> Vec<Sequence>,
        udp::sequences,
        echo::sequences,
        errors::sequences,
        fragments::sequences,
        headers::sequences,
        malformed::sequences,
        filtering::sequences,
    ];
    groups
        .into_iter()
        .flat_map(|sequences| sequences())
        .collect()
}

/// The sequences of a group.
pub fn group(group: Group) -> Vec<Sequence> {
    let mut sequences = all();
    sequences.retain(|sequence| sequence.group == group);
    sequences
}

/// IPv4, then IPv6.
const FAMILIES: [bool; 2] = [false, true];

/// Every path of TCP and UDP flows through a node: name, client and server.
const PATHS: [(&str, End, End); 6] = [
    ("out", End::A1, End::Outside),
    ("out of another network", End::B1, End::Outside),
    ("published", End::Outside, End::A2),
    ("hairpin to a sibling", End::A1, End::A2),
    ("hairpin to itself", End::A1, End::A1),
    ("hairpin to another network", End::B1, End::A1),
];

/// The paths over the uplink.
const UPLINK_PATHS: [(&str, End, End); 2] = [PATHS[0], PATHS[2]];

/// A flow on one of the [`PATHS`].
fn flow(protocol: Protocol, (_, client, server): (&str, End, End)) -> Flow {
    Flow::between(protocol, client, server)
}

/// Opens a flow; both sides have then sent a packet.
fn opened(sequence: Sequence, flow: Flow) -> Sequence {
    use netpath_tests::packet::{ACK, SYN};
    match flow.protocol {
        Protocol::Tcp => sequence
            .forward(flow, |p| p.flags(SYN).numbers(1_000, 0).payload(&[]))
            .back(flow, |p| {
                p.flags(SYN | ACK).numbers(9_000, 1_001).payload(&[])
            })
            .forward(flow, |p| p.numbers(1_001, 9_001).payload(&[])),
        _ => sequence.forward(flow, |p| p).back(flow, |p| p),
    }
}
