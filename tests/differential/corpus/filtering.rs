//! Filtering of inbound packets and isolation (U-8, T-3, T-4, G-3, H-4, H-6).

use netpath_tests::packet::{ACK, Packet, RST, SYN};

use crate::{
    pair::{End, Map},
    sequence::{Flow, Group, Protocol, Remote, Sequence, View},
};

use super::{FAMILIES, opened};

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            sequences.extend(other_sources(v6, protocol));
            sequences.extend(to_the_node(v6, protocol));
            sequences.extend(inside(v6, protocol));
        }
        sequences.extend(spoofed(v6));
    }
    sequences
}

fn name(v6: bool, protocol: Protocol, what: &str) -> Sequence {
    Sequence::new(Group::Filtering, v6, format!("{} {what}", protocol.name()))
}

/// Another host sends to the outer port of a flow.
fn other_sources(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    let out = Flow::out(protocol, End::A1);
    let unpublished = Flow::published(protocol, End::A1)
        .number(1)
        .with(Remote::Second);
    for flags in [SYN, SYN | ACK, ACK, RST] {
        if protocol == Protocol::Udp && flags != SYN {
            continue;
        }
        let shape = move |p: Packet| match protocol {
            Protocol::Tcp => p.flags(flags),
            _ => p,
        };
        let to_flow = move |view: &View<'_>, source, port| {
            let reply = view.back(&out);
            let packet = reply.source(source);
            shape(match port {
                Some(port) => packet.sport(port),
                None => packet,
            })
        };
        let sequence = opened(
            name(
                v6,
                protocol,
                &format!("from another host, flags {flags:#x}"),
            ),
            out,
        );
        sequences.push(
            sequence
                .send(End::Outside, move |view| {
                    to_flow(view, view.remote(Remote::Second), None)
                })
                .back(out, |p| p),
        );
        let sequence = opened(
            name(
                v6,
                protocol,
                &format!("from another port, flags {flags:#x}"),
            ),
            out,
        );
        sequences.push(
            sequence
                .send(End::Outside, move |view| {
                    to_flow(view, view.remote(Remote::Peer), Some(4))
                })
                .back(out, |p| p),
        );
        for port in [1, 22, 80, 8_079, 8_090, 20_000, 40_000, 65_535] {
            let flow = unpublished.with_dport(port);
            let what = format!("to unused port {port}, flags {flags:#x}");
            sequences.push(name(v6, protocol, &what).forward(flow, shape));
        }
        // A port that is published for the other protocol.
        let other = if protocol == Protocol::Tcp {
            8_053
        } else {
            8_080
        };
        let what = format!("to a port published for the other protocol, flags {flags:#x}");
        sequences.push(name(v6, protocol, &what).forward(unpublished.with_dport(other), shape));
    }
    sequences
}

/// From sandboxes to the node's own addresses.
fn to_the_node(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let udp = protocol == Protocol::Udp;
    let (published, _) = End::A2.published(udp);
    let mut sequences = Vec::new();
    for (what, to, port) in [
        ("to a closed port of the node", Map::host(v6), 9),
        (
            "to a closed port of the gateway",
            Map::gateway(End::A1, v6),
            9,
        ),
        (
            "to a closed port of another gateway",
            Map::gateway(End::B1, v6),
            9,
        ),
        (
            "to a published port of the gateway",
            Map::gateway(End::A1, v6),
            published,
        ),
        (
            "to a published port of another gateway",
            Map::gateway(End::B1, v6),
            published,
        ),
    ] {
        let make = move |view: &View<'_>| {
            let flow = Flow::between(protocol, End::A1, End::A2);
            let sport = view.sport(&flow);
            let from = view.own(End::A1, Remote::Peer);
            let packet = view.eth(End::A1, Packet::ip(from, to), to);
            if udp {
                packet.udp(sport, port)
            } else {
                packet.tcp(sport, port, SYN)
            }
        };
        sequences.push(name(v6, protocol, what).send(End::A1, make));
    }
    sequences
}

/// To a sandbox's own address, without a published port.
fn inside(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let direct = |client, server| Flow::between(protocol, client, server).direct();
    let flow = direct(End::A1, End::A2);
    let shape = move |p: Packet| match protocol {
        Protocol::Tcp => p.flags(SYN),
        _ => p,
    };
    vec![
        opened(name(v6, protocol, "to a sibling"), flow)
            .forward(flow, |p| p)
            .back(flow, |p| p),
        name(v6, protocol, "to a sandbox of another network")
            .forward(direct(End::B1, End::A1), shape),
        name(v6, protocol, "from outside to a sandbox's address")
            .forward(direct(End::Outside, End::A1), shape),
    ]
}

/// With a source address that does not belong to the sender.
fn spoofed(v6: bool) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    let udp = Flow::out(Protocol::Udp, End::A1);
    for (what, source) in [
        ("its sibling", Some(End::A2)),
        ("a sandbox of another network", Some(End::B1)),
        ("an outside host", Some(End::Outside)),
        ("the node", None),
    ] {
        let make = move |view: &View<'_>| {
            let source = match source {
                Some(end) => view.own(end, Remote::Second),
                None => Map::host(v6),
            };
            view.forward(&udp).source(source)
        };
        let sequence = Sequence::new(
            Group::Filtering,
            v6,
            format!("a sandbox sends from the address of {what}"),
        );
        sequences.push(sequence.send(End::A1, make));
    }
    for (what, inside) in [("a sandbox", true), ("the node", false)] {
        let published = Flow::published(Protocol::Udp, End::A1);
        let make = move |view: &View<'_>| {
            let source = if inside {
                view.own(End::A2, Remote::Peer)
            } else {
                Map::host(v6)
            };
            view.forward(&published).source(source)
        };
        let sequence = Sequence::new(
            Group::Filtering,
            v6,
            format!("the outside sends from the address of {what}"),
        );
        sequences.push(sequence.send(End::Outside, make));
    }
    sequences
}
