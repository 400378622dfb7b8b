//! Echo requests and replies, and other ICMP queries (I-1, I-10).

use netpath_tests::packet::Packet;

use crate::{
    pair::{End, Map},
    sequence::{Flow, Group, Protocol, Remote, Sequence},
};

use super::FAMILIES;

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        let name = |what: &str| Sequence::new(Group::Echo, v6, what);
        for client in [End::A1, End::B1] {
            let echo = Flow::out(Protocol::Echo, client);
            let from = format!("{client:?}");
            let name = |what: &str| name(&format!("{from}: {what}"));
            sequences.push(
                name("request and reply")
                    .forward(echo, |p| p)
                    .back(echo, |p| p),
            );
            sequences.push(
                name("three requests")
                    .forward(echo, |p| p)
                    .forward(echo, |p| p)
                    .back(echo, |p| p)
                    .forward(echo, |p| p)
                    .back(echo, |p| p)
                    .back(echo, |p| p),
            );
            sequences.push(sizes(name("sizes"), echo));
            let second = echo.number(1).with(Remote::Second);
            sequences.push(
                name("two hosts")
                    .forward(echo, |p| p)
                    .forward(second, |p| p)
                    .back(echo, |p| p)
                    .back(second, |p| p),
            );
            let wrong = second.number(2);
            sequences.push(
                name("another host replies")
                    .forward(echo, |p| p)
                    .back(wrong, |p| p)
                    .back(echo, |p| p),
            );
            sequences.push(
                name("a reply with another identifier")
                    .forward(echo, |p| p)
                    .back(echo, |p| p.sport(9))
                    .back(echo, |p| p),
            );
            sequences.push(name("a reply without a request").back(echo, |p| p));
            sequences.push(
                name("the host sends a request with the same identifier")
                    .forward(echo, |p| p)
                    .back(echo, move |p| {
                        p.icmp(if v6 { 128 } else { 8 }, 0, [0x27, 0x10, 0, 1])
                    })
                    .back(echo, |p| p),
            );
            sequences.push(
                name("a reply instead of a request").forward(echo, move |p| {
                    p.icmp(if v6 { 129 } else { 0 }, 0, [1, 2, 0, 1])
                }),
            );
            for id in [0, 1, 80, 1_023, 8_080, 32_768, 65_535] {
                let echo = echo.with_sport(id);
                let sequence = name(&format!("identifier {id}"));
                sequences.push(sequence.forward(echo, |p| p).back(echo, |p| p));
            }
        }
        sequences.extend(collisions(v6));
        sequences.extend(to_the_node(v6));
        sequences.extend(other_requests(v6));
    }
    sequences
}

fn sizes(sequence: Sequence, echo: Flow) -> Sequence {
    [0, 1, 3, 56, 1_400]
        .iter()
        .fold(sequence, |sequence, size| {
            let payload = vec![0x5a; *size];
            let same = payload.clone();
            sequence
                .forward(echo, move |p| p.payload(&payload))
                .back(echo, move |p| p.payload(&same))
        })
}

fn collisions(v6: bool) -> Vec<Sequence> {
    let name = |what: &str| Sequence::new(Group::Echo, v6, what);
    let same = |id, client| Flow::out(Protocol::Echo, client).number(id).with_sport(7);
    let (one, two, three) = (same(0, End::A1), same(1, End::A2), same(2, End::B1));
    vec![
        name("the same identifier of two sandboxes")
            .forward(one, |p| p)
            .forward(two, |p| p)
            .back(two, |p| p)
            .back(one, |p| p),
        name("the same identifier of three sandboxes")
            .forward(one, |p| p)
            .back(one, |p| p)
            .forward(two, |p| p)
            .forward(three, |p| p)
            .back(three, |p| p)
            .back(two, |p| p)
            .back(one, |p| p),
        name("the same identifier to different hosts")
            .forward(one, |p| p)
            .forward(two.with(Remote::Second), |p| p)
            .back(one, |p| p)
            .back(two.with(Remote::Second), |p| p),
    ]
}

fn to_the_node(v6: bool) -> Vec<Sequence> {
    let echo = Flow::published(Protocol::Echo, End::A1);
    let to_host = move |view: &crate::sequence::View<'_>, from: End, to| {
        let source = view.own(from, Remote::Peer);
        view.eth(from, Packet::ip(source, to).echo_request(77), to)
    };
    let name = |what: &str| Sequence::new(Group::Echo, v6, what);
    vec![
        name("from outside to the node")
            .forward(echo, |p| p)
            .forward(echo, |p| p),
        name("from a sandbox to the node")
            .send(End::A1, move |view| to_host(view, End::A1, Map::host(v6))),
        name("from a sandbox to its gateway").send(End::A1, move |view| {
            to_host(view, End::A1, Map::gateway(End::A1, v6))
        }),
        name("from a sandbox to another gateway").send(End::A1, move |view| {
            to_host(view, End::A1, Map::gateway(End::B1, v6))
        }),
        name("from a sandbox to its sibling").send(End::A1, move |view| {
            to_host(view, End::A1, view.own(End::A2, Remote::Peer))
        }),
    ]
}

/// Timestamp, information and address mask requests, and unassigned types.
fn other_requests(v6: bool) -> Vec<Sequence> {
    let kinds: &[u8] = if v6 {
        &[127, 138, 139, 200]
    } else {
        &[1, 10, 13, 15, 17, 42]
    };
    let mut sequences = Vec::new();
    for kind in kinds {
        for (path, flow, forward) in [
            ("out", Flow::out(Protocol::Echo, End::A1), true),
            ("in", Flow::out(Protocol::Echo, End::A1), false),
        ] {
            // The node's reply contains its clock, which differs between runs.
            if *kind == 13 && !forward {
                continue;
            }
            let sequence = Sequence::new(Group::Echo, v6, format!("type {kind} {path}"));
            let shape = move |p: Packet| p.icmp(*kind, 0, [0x27, 0x10, 0, 1]);
            sequences.push(if forward {
                sequence.forward(flow, shape)
            } else {
                sequence.forward(flow, |p| p).back(flow, shape)
            });
        }
    }
    sequences
}
