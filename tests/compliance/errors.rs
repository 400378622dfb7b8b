//! ICMP errors about translated flows.

use std::net::IpAddr;

use netpath_tests::{
    fixture::{HOST, OUTSIDE, Service, both},
    packet::{ACK, Packet, SYN},
    peer::{self, Request, SocketType},
};

use crate::{
    flow::{AddrPort, Ends, Flow, FlowProtocol, PUBLISHED, ROUTER, TARGET, address},
    gate::Offloads,
    segments::published,
};

/// Type, code and the four bytes after the checksum.
type Kind = (u8, u8, [u8; 4]);

/// The next hop's MTU, for messages that contain it.
const MTU4: [u8; 4] = [0, 0, 0x05, 0x14];
const NONE: [u8; 4] = [0; 4];

/// ICMP: destination unreachable, time exceeded, parameter problem (RFC 792, RFC 1812).
const KINDS4: [Kind; 10] = [
    (3, 0, NONE),
    (3, 1, NONE),
    (3, 3, NONE),
    (3, 4, MTU4),
    (3, 9, NONE),
    (3, 10, NONE),
    (3, 13, NONE),
    (11, 0, NONE),
    (11, 1, NONE),
    (12, 0, [8, 0, 0, 0]),
];
/// ICMPv6: the same, and packet too big (RFC 4443).
const KINDS6: [Kind; 9] = [
    (1, 0, NONE),
    (1, 1, NONE),
    (1, 3, NONE),
    (1, 4, NONE),
    (1, 5, NONE),
    (2, 0, [0, 0, 0x05, 0x14]),
    (3, 0, NONE),
    (3, 1, NONE),
    (4, 1, [0, 0, 0, 6]),
];

fn kinds(family: usize) -> &'static [Kind] {
    [&KINDS4[..], &KINDS6[..]][family]
}

/// The length of the quote.
#[derive(Clone, Copy, Debug)]
enum Quote {
    /// The whole packet.
    Whole,
    /// The minimum of RFC 792: eight bytes after the IP header.
    Short,
}

/// An error about a packet.
fn error(from: IpAddr, to: IpAddr, kind: Kind, about: &Packet, quote: Quote) -> Packet {
    let frame = about.build();
    let packet = &frame[14..];
    let header = if packet[0] >> 4 == 4 {
        usize::from(packet[0] & 15) * 4
    } else {
        40
    };
    let quoted = match quote {
        Quote::Whole => packet,
        Quote::Short => &packet[..header + 8],
    };
    let (number, code, rest) = kind;
    Packet::ip(from, to)
        .icmp(number, code, rest)
        .payload(quoted)
}

/// A router's error about a packet of the sandbox: as sent outside, and as the sandbox must receive it.
#[track_caller]
fn expect_error_inside(
    ends: &Ends,
    flow: &Flow<'_>,
    kind: Kind,
    quote: Quote,
    change: &Change<'_>,
) {
    let family = usize::from(flow.inner.0.is_ipv6());
    let router = address(ROUTER, family);
    let about = change(flow.received_outside());
    let known = change(flow.sent_inside().routed());
    ends.send_outside(&error(router, flow.outer.0, kind, &about, quote));
    let expected = error(router, flow.inner.0, kind, &known, quote).routed();
    let what = format!("type {} code {}, {quote:?}: {about:?}", kind.0, kind.1);
    ends.inside.expect(&what, &expected);
}

type Change<'a> = dyn Fn(Packet) -> Packet + 'a;

fn same(packet: Packet) -> Packet {
    packet
}

/// Established flows of a family: one from the sandbox, and one to its published port.
fn flows(ends: &Ends, family: usize) -> Vec<(Flow<'_>, FlowProtocol)> {
    let mut flows = Vec::new();
    for protocol in [FlowProtocol::Tcp, FlowProtocol::Udp, FlowProtocol::Echo] {
        let flow = ends.outbound(family, protocol, 5000);
        open(&flow, protocol, true);
        flows.push((flow, protocol));
    }
    for protocol in [FlowProtocol::Tcp, FlowProtocol::Udp] {
        let flow = ends.inbound(family, protocol, 4000);
        open(&flow, protocol, false);
        flows.push((flow, protocol));
    }
    flows
}

#[track_caller]
fn open(flow: &Flow<'_>, protocol: FlowProtocol, from_inside: bool) {
    let flags = |packet: Packet, flags| match protocol {
        FlowProtocol::Tcp => packet.flags(flags),
        _ => packet,
    };
    if from_inside {
        flow.leaves("the first packet", |packet| flags(packet, SYN));
        flow.arrives("the reply", |packet| flags(packet, SYN | ACK));
        if protocol == FlowProtocol::Tcp {
            flow.leaves("the third packet", |packet| packet.flags(ACK));
        }
    } else {
        flow.arrives("the first packet", |packet| flags(packet, SYN));
        flow.leaves("the reply", |packet| flags(packet, SYN | ACK));
        if protocol == FlowProtocol::Tcp {
            flow.arrives("the third packet", |packet| packet.flags(ACK));
        }
    }
}

/// I-4: errors of routers and of the remote end reach the sandbox; they quote the sandbox's own packet and have correct
/// checksums. Errors about unknown flows do not reach it.
pub fn inbound(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (_sandbox, ends) = published(&fixture);
    for family in [0, 1] {
        for (flow, _) in flows(&ends, family) {
            for kind in kinds(family) {
                expect_error_inside(&ends, &flow, *kind, Quote::Whole, &same);
            }
            unknown(&ends, &flow, kinds(family)[2]);
        }
    }
    fixture.assert_clean(&[]);
}

/// An error about an unknown flow.
#[track_caller]
fn unknown(ends: &Ends, flow: &Flow<'_>, kind: Kind) {
    let other_source = AddrPort(flow.outer.0, 6999);
    let about = flow.between(other_source, flow.remote);
    let router = address(ROUTER, usize::from(flow.inner.0.is_ipv6()));
    ends.send_outside(&error(router, flow.outer.0, kind, &about, Quote::Whole));
    let number = kind.0;
    ends.inside
        .expect_nothing("an error about an unknown flow", |frame| {
            let icmp = match frame[12..14] {
                [0x08, 0x00] => (frame[23] == 1).then(|| frame[34]),
                [0x86, 0xdd] => (frame[20] == 58).then(|| frame[54]),
                _ => None,
            };
            icmp == Some(number)
        });
}

/// I-5: a published port without a server is refused by the node's own address and port.
pub fn unreachable_from_published(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (_sandbox, ends) = published(&fixture);
    for address in both(HOST) {
        let requests = [Request::new(SocketType::Udp, address, PUBLISHED)];
        let limit = std::time::Duration::from_secs(2);
        let replies = peer::send_requests_within(fixture.outside(), &requests, limit);
        let error = replies[0].as_ref().expect_err("no server");
        assert!(error.contains("refused"), "{address}: {error}");
    }
    // The same with every field checked, for a reply that the test builds.
    for family in [0, 1] {
        let flow = ends.inbound(family, FlowProtocol::Udp, 4000);
        flow.arrives("a request", same);
        let kind = kinds(family)[if family == 0 { 2 } else { 3 }];
        for quote in [Quote::Whole, Quote::Short] {
            let about = flow.received_inside();
            ends.send_inside(&error(flow.inner.0, flow.remote.0, kind, &about, quote));
            let known = flow.sent_outside().routed();
            let expected = error(flow.outer.0, flow.remote.0, kind, &known, quote).routed();
            ends.outside
                .expect(&format!("refused, {quote:?}"), &expected);
        }
        assert_eq!(flow.inner.1, TARGET);
    }
    fixture.assert_clean(&[]);
}

/// U-12, T-10: no ICMP error and no redirect removes a flow.
pub fn keep_the_flow(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (_sandbox, ends) = published(&fixture);
    for family in [0, 1] {
        let flows = flows(&ends, family);
        let count = fixture.flows(&[]).len();
        for (flow, protocol) in &flows {
            for kind in kinds(family) {
                expect_error_inside(&ends, flow, *kind, Quote::Whole, &same);
            }
            let other_source = address(OUTSIDE, family);
            let redirect = [(5, 1, [192, 0, 2, 2]), (137, 0, NONE)][family];
            for kind in kinds(family).iter().chain([&redirect]) {
                let about = flow.received_outside();
                ends.send_outside(&error(
                    other_source,
                    flow.outer.0,
                    *kind,
                    &about,
                    Quote::Short,
                ));
            }
            let flags = |packet: Packet| match protocol {
                FlowProtocol::Tcp => packet.flags(ACK),
                _ => packet,
            };
            flow.leaves("a packet after the errors", flags);
            flow.arrives("a reply after the errors", flags);
        }
        assert_eq!(fixture.flows(&[]).len(), count, "a flow was removed");
        let states = fixture.flows(&["--protocol", "tcp"]);
        assert!(
            states.iter().all(|flow| flow["state"] == "established"),
            "{states:#?}"
        );
    }
    fixture.assert_clean(&[]);
}

/// I-3b, I-3c: errors about packets with IP options, errors with IP options, and errors with the minimal quote.
pub fn quotations(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (_sandbox, ends) = published(&fixture);
    for family in [0, 1] {
        let kind = kinds(family)[2];
        for (flow, _) in flows(&ends, family) {
            for quote in [Quote::Short, Quote::Whole] {
                expect_error_inside(&ends, &flow, kind, quote, &same);
                if family == 1 {
                    continue;
                }
                for words in 1..=10 {
                    let options = vec![1; 4 * words];
                    expect_error_inside(&ends, &flow, kind, quote, &|packet| {
                        packet.options(&options)
                    });
                }
            }
            if family == 0 {
                let about = error(
                    address(ROUTER, 0),
                    flow.outer.0,
                    kind,
                    &flow.received_outside(),
                    Quote::Short,
                );
                ends.send_outside(&about.options(&[1; 8]));
                let known = flow.sent_inside().routed();
                let router = address(ROUTER, 0);
                let expected = error(router, flow.inner.0, kind, &known, Quote::Short);
                ends.inside
                    .expect("an error with options", &expected.options(&[1; 8]).routed());
            }
        }
    }
    fixture.assert_clean(&[]);
}

/// I-7: a sandbox receives port unreachable for a published port without a server, whether a sibling, a sandbox of
/// another network, or the sandbox itself publishes it.
pub fn hairpinned(offloads: Offloads) {
    let service = Service::on(offloads.fixture());
    let limit = std::time::Duration::from_secs(2);
    for (origin, sandbox) in [
        ("sibling", &service.sibling),
        ("other network", &service.other),
        ("itself", &service.web),
    ] {
        let requests = both(HOST).map(|to| Request::new(SocketType::Udp, to, PUBLISHED));
        for reply in peer::send_requests_within(&sandbox.netns, &requests, limit) {
            let error = reply.expect_err("no server");
            assert!(error.contains("refused"), "{origin}: {error}");
        }
        let requests = both(HOST).map(|to| Request::new(SocketType::Tcp, to, PUBLISHED));
        for reply in peer::send_requests_within(&sandbox.netns, &requests, limit) {
            let error = reply.expect_err("no server");
            assert!(error.contains("refused"), "{origin}: {error}");
        }
    }
    service
        .fixture
        .assert_clean(&[&service.web, &service.sibling, &service.other]);
}
