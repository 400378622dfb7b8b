//! Filtering of inbound packets and isolation (U-8, T-3, T-4, G-3, H-4, H-6).

use netpath_tests::packet::{ACK, Packet, RST, SYN};

use crate::{
    pair::{Map, Place},
    sequence::{Flow, Group, Protocol, Remote, Sequence, View},
};

use super::{FAMILIES, opened};

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            sequences.extend(strangers(v6, protocol));
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
fn strangers(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    let out = Flow::out(protocol, Place::One);
    let stranger = Flow::published(protocol, Place::One)
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
                .send(Place::Outside, move |view| {
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
                .send(Place::Outside, move |view| {
                    to_flow(view, view.remote(Remote::Peer), Some(4))
                })
                .back(out, |p| p),
        );
        for port in [1, 22, 80, 8_079, 8_090, 20_000, 40_000, 65_535] {
            let flow = stranger.with_dport(port);
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
        sequences.push(name(v6, protocol, &what).forward(stranger.with_dport(other), shape));
    }
    sequences
}

/// From sandboxes to the node's own addresses.
fn to_the_node(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let udp = protocol == Protocol::Udp;
    let (published, _) = Place::Two.published(udp);
    let mut sequences = Vec::new();
    for (what, to, port) in [
        ("to a closed port of the node", Map::host(v6), 9),
        (
            "to a closed port of the gateway",
            Map::gateway(Place::One, v6),
            9,
        ),
        (
            "to a closed port of another gateway",
            Map::gateway(Place::Three, v6),
            9,
        ),
        (
            "to a published port of the gateway",
            Map::gateway(Place::One, v6),
            published,
        ),
        (
            "to a published port of another gateway",
            Map::gateway(Place::Three, v6),
            published,
        ),
    ] {
        let make = move |view: &View<'_>| {
            let flow = Flow::between(protocol, Place::One, Place::Two);
            let sport = view.sport(&flow);
            let from = view.own(Place::One, Remote::Peer);
            let packet = view.eth(Place::One, Packet::ip(from, to), to);
            if udp {
                packet.udp(sport, port)
            } else {
                packet.tcp(sport, port, SYN)
            }
        };
        sequences.push(name(v6, protocol, what).send(Place::One, make));
    }
    sequences
}

/// To a sandbox's own address, without a published port.
fn inside(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let direct = |client, server| Flow::between(protocol, client, server).direct();
    let flow = direct(Place::One, Place::Two);
    let shape = move |p: Packet| match protocol {
        Protocol::Tcp => p.flags(SYN),
        _ => p,
    };
    vec![
        opened(name(v6, protocol, "to a sibling"), flow)
            .forward(flow, |p| p)
            .back(flow, |p| p),
        name(v6, protocol, "to a sandbox of another network")
            .forward(direct(Place::Three, Place::One), shape),
        name(v6, protocol, "from outside to a sandbox's address")
            .forward(direct(Place::Outside, Place::One), shape),
    ]
}

/// With a source address that does not belong to the sender.
fn spoofed(v6: bool) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    let udp = Flow::out(Protocol::Udp, Place::One);
    for (what, source) in [
        ("its sibling", Some(Place::Two)),
        ("a sandbox of another network", Some(Place::Three)),
        ("an outside host", Some(Place::Outside)),
        ("the node", None),
    ] {
        let make = move |view: &View<'_>| {
            let source = match source {
                Some(place) => view.own(place, Remote::Second),
                None => Map::host(v6),
            };
            view.forward(&udp).source(source)
        };
        let sequence = Sequence::new(
            Group::Filtering,
            v6,
            format!("a sandbox sends from the address of {what}"),
        );
        sequences.push(sequence.send(Place::One, make));
    }
    for (what, inside) in [("a sandbox", true), ("the node", false)] {
        let published = Flow::published(Protocol::Udp, Place::One);
        let make = move |view: &View<'_>| {
            let source = if inside {
                view.own(Place::Two, Remote::Peer)
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
        sequences.push(sequence.send(Place::Outside, make));
    }
    sequences
}
