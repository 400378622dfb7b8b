//! Fragments (U-14, V6-6, I-12) in every order and both directions.

use netpath_tests::packet::{ORDERS, fragments};

use crate::{
    pair::End,
    sequence::{Flow, Group, IcmpError, Protocol, Sequence},
};

use super::{FAMILIES, PATHS, UPLINK_PATHS, flow, opened};

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        for order in ORDERS {
            sequences.extend(three(v6, order));
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            sequences.extend(special_cases(v6, protocol));
        }
    }
    sequences
}

/// Three fragments as the first packet of a flow, and in both directions of an established flow.
fn three(v6: bool, order: [usize; 3]) -> Vec<Sequence> {
    let payload = |p: netpath_tests::packet::Packet| p.payload(&[7; 70]);
    let mut sequences = Vec::new();
    let mut add = |what: &str, flow: Flow| {
        let name = |how: &str| {
            let [a, b, c] = order.map(|index| index + 1);
            let name = format!("{what} {} in order {a}{b}{c}, {how}", flow.protocol.name());
            Sequence::new(Group::Fragments, v6, name)
        };
        if flow.protocol != Protocol::Tcp {
            sequences.push(
                name("first packet")
                    .fragments(flow, true, &[24, 24], order.into(), payload)
                    .back(flow, |p| p),
            );
        }
        sequences.push(
            opened(name("later"), flow)
                .fragments(flow, true, &[24, 24], order.into(), payload)
                .fragments(flow, false, &[24, 24], order.into(), payload)
                .forward(flow, |p| p),
        );
    };
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for path in UPLINK_PATHS {
            add(path.0, flow(protocol, path));
        }
    }
    add("out", Flow::out(Protocol::Echo, End::A1));
    for path in &PATHS[3..] {
        add(path.0, flow(Protocol::Udp, *path));
    }
    sequences
}

/// Two, many, lost, duplicated, reordered and interleaved fragments of an established flow.
fn special_cases(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    let payload = |p: netpath_tests::packet::Packet| p.payload(&[9; 120]);
    for path in UPLINK_PATHS {
        let flow = flow(protocol, path);
        let name = |what: &str| {
            let name = format!("{} {}: {what}", path.0, protocol.name());
            Sequence::new(Group::Fragments, v6, name)
        };
        let after_open = |what: &str| opened(name(what), flow);
        sequences.push(
            after_open("two")
                .fragments(flow, true, &[64], vec![0, 1], payload)
                .fragments(flow, false, &[64], vec![1, 0], payload),
        );
        sequences.push(after_open("an atomic fragment").fragments(
            flow,
            true,
            &[],
            vec![0],
            payload,
        ));
        sequences.push(after_open("one of them duplicated").fragments(
            flow,
            true,
            &[64],
            vec![0, 0, 1],
            payload,
        ));
        sequences.push(after_open("the first is lost").fragments(
            flow,
            true,
            &[64],
            vec![1],
            payload,
        ));
        sequences.push(after_open("the last is lost").fragments(
            flow,
            true,
            &[64],
            vec![0],
            payload,
        ));
        sequences.push(after_open("many").fragments(
            flow,
            false,
            &[24, 8, 16, 24, 8, 8],
            vec![0, 1, 2, 3, 4, 5, 6],
            payload,
        ));
        sequences.push(after_open("many, in reverse order").fragments(
            flow,
            false,
            &[24, 8, 16, 24, 8, 8],
            vec![6, 5, 4, 3, 2, 1, 0],
            payload,
        ));
        let second = flow.number(1);
        sequences.push(
            opened(after_open("fragments of two datagrams interleaved"), second).frames(
                flow,
                true,
                move |p| {
                    let a = fragments::cut(&p.clone().payload(&[1; 60]).id(0x0a0a).build(), &[32]);
                    let b = fragments::cut(&p.payload(&[2; 60]).id(0x0b0b).build(), &[32]);
                    vec![a[0].clone(), b[0].clone(), a[1].clone(), b[1].clone()]
                },
            ),
        );
        // A transport header that continues in the second fragment.
        sequences.push(after_open("header in two fragments").fragments(
            flow,
            true,
            &[8],
            vec![0, 1],
            payload,
        ));
        let mut error = IcmpError::closed(v6);
        error.from = Some(crate::sequence::Remote::Router);
        if flow.server == End::Outside {
            sequences.push(
                after_open("error about a reassembled datagram")
                    .fragments(flow, true, &[64], vec![0, 1], payload)
                    .icmp_error(flow, true, error),
            );
        }
    }
    sequences
}
