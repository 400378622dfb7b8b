//! ICMP errors: the outer header and the quoted packet are translated back, whoever sends the error.

use std::net::IpAddr;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{Checksum, Packet, SYN},
    prog::{
        ENDPOINT_IN, ENDPOINT_OUT, Side, UPLINK_EGRESS, UPLINK_INGRESS, gateway_mac, sandbox_mac,
    },
};

use crate::case::{Case, Send, send};

use crate::{both, case, delivered, from_sandbox, inbound, leaving};

const ETHERNET: usize = 14;

pub fn cases() -> Vec<Case> {
    let mut cases = both(about_outbound);
    cases.extend(both(about_published));
    cases.extend(both(about_hairpins));
    cases.extend(both(by_the_stack));
    cases.extend(both(left_alone));
    cases
}

/// Types and codes of errors, with the four bytes after the checksum.
fn kinds(side: Side) -> Vec<(u8, u8, [u8; 4])> {
    if side.is_v4() {
        let unreachable = (0..16).map(|code| (3, code, [0, 0, 5, 0]));
        unreachable
            .chain([(11, 0, [0; 4]), (11, 1, [0; 4]), (12, 0, [20, 0, 0, 0])])
            .collect()
    } else {
        let unreachable = (0..7).map(|code| (1, code, [0; 4]));
        unreachable
            .chain([
                (2, 0, [0, 0, 5, 0]),
                (3, 0, [0; 4]),
                (3, 1, [0; 4]),
                (4, 1, [0, 0, 0, 40]),
            ])
            .collect()
    }
}

fn port_unreachable(side: Side) -> (u8, u8) {
    if side.is_v4() { (3, 3) } else { (1, 4) }
}

/// A packet as a router quotes it: `bytes` after its network header, or all of it.
fn quote(packet: &Packet, bytes: Option<usize>) -> Vec<u8> {
    let built = packet.build();
    let header = if packet.is_v4() {
        usize::from(built[ETHERNET] & 15) * 4
    } else {
        40
    };
    let quoted = &built[ETHERNET..];
    bytes
        .map_or(quoted, |bytes| &quoted[..header + bytes])
        .to_vec()
}

fn error(carrier: Packet, (kind, code): (u8, u8), quoted: &[u8]) -> Packet {
    carrier.icmp(kind, code, [0; 4]).payload(quoted)
}

/// An error that a router outside sends about a packet, and the error that the sandbox receives.
fn reported(side: Side, name: &str, before: &Packet, after: &Packet, bytes: Option<usize>) -> Case {
    let router = side.stranger();
    let about = port_unreachable(side);
    let carrier = inbound(side, side.host()).source(router);
    let arrives = error(carrier.clone(), about, &quote(after, bytes));
    let expected = error(
        delivered(carrier.destination(side.sandbox(1)), 1),
        about,
        &quote(before, bytes),
    );
    case(side, name)
        .then(
            send(UPLINK_EGRESS, "eth0", before)
                .is(Reason::Translated)
                .sends(after)
                .number_of_flows(1),
        )
        .then(
            send(UPLINK_INGRESS, "eth0", &arrives)
                .is(Reason::Inbound)
                .sends(&expected),
        )
}

fn about_outbound(side: Side) -> Vec<Case> {
    let (client, host) = (side.client(), side.host());
    let tcp = leaving(side, 1, client).tcp(61_500, 80, SYN);
    let udp = leaving(side, 1, client).udp(61_500, 5353);
    let echo = leaving(side, 1, client).echo_request(61_500);
    let about = port_unreachable(side);
    let mut cases = Vec::new();
    for (what, before) in [("TCP", &tcp), ("UDP", &udp), ("an echo", &echo)] {
        let after = before.clone().source(host);
        for (much, bytes) in [("eight bytes of it", Some(8)), ("all of it", None)] {
            let name = format!("an error about {what} that quotes {much} comes back");
            cases.push(reported(side, &name, before, &after, bytes));
        }
    }
    let after = udp.clone().source(host);
    for (kind, code, rest) in kinds(side) {
        let arrives = inbound(side, host)
            .icmp(kind, code, rest)
            .payload(&quote(&after, None));
        let expected = delivered(inbound(side, side.sandbox(1)), 1)
            .icmp(kind, code, rest)
            .payload(&quote(&udp, None));
        cases.push(
            case(side, &format!("type {kind} code {code} comes back"))
                .then(leaves(&udp, &after))
                .then(
                    send(UPLINK_INGRESS, "eth0", &arrives)
                        .is(Reason::Inbound)
                        .sends(&expected),
                ),
        );
    }
    // RFC 4884: a quote of 128 bytes, followed by an extension that contains no ports.
    let long = udp.clone().payload(&[7; 200]);
    let after = long.clone().source(host);
    let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0xca, 0xfe, 0xba, 0xbe];
    let extended = |packet: &Packet| {
        let mut bytes = quote(packet, None);
        bytes.truncate(128);
        bytes.extend(extension);
        bytes
    };
    let (kind, words) = if side.is_v4() {
        (11, [0, 32, 0, 0])
    } else {
        (3, [16, 0, 0, 0])
    };
    cases.push(
        case(side, "an extension behind the quote is left alone")
            .then(leaves(&long, &after))
            .then(
                send(
                    UPLINK_INGRESS,
                    "eth0",
                    &inbound(side, host)
                        .icmp(kind, 0, words)
                        .payload(&extended(&after)),
                )
                .is(Reason::Inbound)
                .sends(
                    &delivered(inbound(side, side.sandbox(1)), 1)
                        .icmp(kind, 0, words)
                        .payload(&extended(&long)),
                ),
            ),
    );
    if side.is_v4() {
        for words in 1..=10 {
            let optional = udp.clone().options(&vec![1; words * 4]);
            let name = format!("a quote with {words} words of options is translated");
            let after = optional.clone().source(host);
            cases.push(reported(side, &name, &optional, &after, Some(8)));
        }
        let none = udp.clone().checksum(Checksum::Absent);
        let name = "a quoted UDP checksum of none stays none";
        cases.push(reported(
            side,
            name,
            &none,
            &none.clone().source(host),
            None,
        ));
    }
    let wrong = error(
        inbound(side, host),
        about,
        &quote(&udp.clone().source(host), None),
    );
    cases.push(
        case(side, "a wrong checksum of an error stays wrong")
            .then(leaves(&udp, &udp.clone().source(host)))
            .then(
                send(
                    UPLINK_INGRESS,
                    "eth0",
                    &wrong.checksum(Checksum::WrongBy(3)),
                )
                .is(Reason::Inbound)
                .sends(
                    &error(
                        delivered(inbound(side, side.sandbox(1)), 1),
                        about,
                        &quote(&udp, None),
                    )
                    .checksum(Checksum::WrongBy(3)),
                ),
            ),
    );
    cases
}

fn leaves(before: &Packet, after: &Packet) -> Send {
    send(UPLINK_EGRESS, "eth0", before)
        .is(Reason::Translated)
        .sends(after)
        .number_of_flows(1)
}

/// A request to the published port 5353/udp, and the request that the sandbox receives.
fn asked(side: Side) -> (Packet, Packet) {
    let request = inbound(side, side.host()).udp(40_000, 5353);
    let inside = delivered(request.clone().destination(side.sandbox(1)), 1).dport(53);
    (request, inside)
}

fn opened(side: Side) -> Send {
    let (request, inside) = asked(side);
    send(UPLINK_INGRESS, "eth0", &request)
        .is(Reason::Inbound)
        .sends(&inside)
        .number_of_flows(1)
}

fn about_published(side: Side) -> Vec<Case> {
    let (client, host, about) = (side.client(), side.host(), port_unreachable(side));
    let (request, inside) = asked(side);
    let closed = error(leaving(side, 1, client), about, &quote(&inside, None));
    let told = error(
        leaving(side, 1, client).source(host),
        about,
        &quote(&request.routed(), None),
    );
    let answer = leaving(side, 1, client).udp(53, 40_000);
    let answered = answer.clone().source(host).sport(5353);
    let carrier = inbound(side, host).source(side.stranger());
    vec![
        case(side, "a closed port answers from the host's address")
            .then(opened(side))
            .then(
                send(UPLINK_EGRESS, "eth0", &closed)
                    .is(Reason::Translated)
                    .sends(&told),
            ),
        case(side, "an error about an answer reaches who answered")
            .then(opened(side))
            .then(
                send(UPLINK_EGRESS, "eth0", &answer)
                    .is(Reason::Translated)
                    .sends(&answered),
            )
            .then(
                send(
                    UPLINK_INGRESS,
                    "eth0",
                    &error(carrier.clone(), about, &quote(&answered, Some(8))),
                )
                .is(Reason::Inbound)
                .sends(&error(
                    delivered(carrier.destination(side.sandbox(1)), 1),
                    about,
                    &quote(&answer, Some(8)),
                )),
            ),
    ]
}

fn about_hairpins(side: Side) -> Vec<Case> {
    let (host, about) = (side.host(), port_unreachable(side));
    let between = |name: &str, client: u32, seen: IpAddr| {
        let request = from_sandbox(side, client, host).udp(61_500, 5353);
        let inside = delivered(request.clone().destination(side.sandbox(1)), 1)
            .source(seen)
            .dport(53);
        let closed = error(
            Packet::ip(side.sandbox(1), seen).eth(sandbox_mac(1), gateway_mac(1)),
            about,
            &quote(&inside, None),
        );
        let told = error(
            Packet::ip(host, side.sandbox(client))
                .eth(gateway_mac(client), sandbox_mac(client))
                .routed(),
            about,
            &quote(&request.clone().routed(), None),
        );
        case(side, name)
            .then(
                send(ENDPOINT_IN, format!("ve{client}"), &request)
                    .is(Reason::Hairpin)
                    .sends(&inside)
                    .number_of_flows(1),
            )
            .then(
                send(ENDPOINT_IN, "ve1", &closed)
                    .is(Reason::Hairpin)
                    .sends(&told),
            )
    };
    vec![
        between(
            "a closed port answers a sibling from the host's address",
            2,
            side.sandbox(2),
        ),
        between("a closed port answers another network", 3, side.sandbox(3)),
        between("a closed port answers its own sandbox", 1, side.gateway(1)),
    ]
}

/// The stack receives translated packets when they cannot be forwarded; its errors quote those.
fn by_the_stack(side: Side) -> Vec<Case> {
    let (client, host) = (side.client(), side.host());
    let exceeded = if side.is_v4() { (11, 0) } else { (3, 0) };
    let (request, _) = asked(side);
    let last = |packet: &Packet| packet.clone().ttl(1);
    let got = request.clone().destination(side.sandbox(1)).dport(53);
    let carrier = Packet::ip(host, client);
    let hairpin = from_sandbox(side, 2, host).udp(61_500, 5353);
    let hairpin_got = hairpin.clone().destination(side.sandbox(1)).dport(53);
    let to_sibling = Packet::ip(side.gateway(1), side.sandbox(2));
    vec![
        case(
            side,
            "the last hop of a request is the node, by its own address",
        )
        .then(
            send(UPLINK_INGRESS, "eth0", &last(&request))
                .is(Reason::TtlExceeded)
                .sends(&last(&got))
                .number_of_flows(1),
        )
        .then(
            send(
                UPLINK_EGRESS,
                "eth0",
                &error(carrier.clone(), exceeded, &quote(&last(&got), None)),
            )
            .is(Reason::Translated)
            .sends(&error(
                carrier.clone(),
                exceeded,
                &quote(&last(&request), None),
            )),
        ),
        case(side, "the last hop of a sibling's request is the node")
            .then(
                send(ENDPOINT_IN, "ve2", &last(&hairpin))
                    .is(Reason::TtlExceeded)
                    .sends(&last(&hairpin_got))
                    .number_of_flows(1),
            )
            .then(
                send(
                    ENDPOINT_OUT,
                    "ve2",
                    &error(
                        to_sibling.clone(),
                        exceeded,
                        &quote(&last(&hairpin_got), None),
                    ),
                )
                .is(Reason::FromHost)
                .sends(&error(to_sibling, exceeded, &quote(&last(&hairpin), None))),
            ),
        case(side, "an error about the node's own traffic stays as it is").then(
            send(
                UPLINK_EGRESS,
                "eth0",
                &error(
                    carrier.clone(),
                    exceeded,
                    &quote(&inbound(side, host).udp(1, 2), None),
                ),
            )
            .is(Reason::NotOurs),
        ),
    ]
}

fn left_alone(side: Side) -> Vec<Case> {
    let (client, host, about) = (side.client(), side.host(), port_unreachable(side));
    let udp = leaving(side, 1, client).udp(61_500, 5353);
    let after = udp.clone().source(host);
    let to_host = |name: &str, arrives: Packet| {
        case(side, name)
            .then(leaves(&udp, &after))
            .then(send(UPLINK_INGRESS, "eth0", &arrives).is(Reason::IcmpError))
    };
    let redirect = if side.is_v4() { (5, 1) } else { (5, 0) };
    let inside = inbound(side, host)
        .udp(40_000, 5353)
        .destination(side.sandbox(1))
        .dport(53);
    vec![
        to_host(
            "an error about another port is the host's",
            error(
                inbound(side, host),
                about,
                &quote(&after.clone().sport(61_501), None),
            ),
        ),
        to_host(
            "an error about another peer is the host's",
            error(
                inbound(side, host),
                about,
                &quote(&after.clone().dport(5354), None),
            ),
        ),
        to_host(
            "a quote cut short of its ports is the host's",
            error(inbound(side, host), about, &quote(&after, Some(6))),
        ),
        to_host(
            "a quoted later fragment has no ports",
            error(
                inbound(side, host),
                about,
                &quote(&after.clone().fragment(1, false), None),
            ),
        ),
        to_host(
            "a quote that another host has sent is the host's",
            error(
                inbound(side, host),
                about,
                &quote(&after.clone().source(side.host2()), None),
            ),
        ),
        to_host(
            "a redirect does not reach a sandbox",
            error(inbound(side, host), redirect, &quote(&after, None)),
        ),
        case(side, "a sandbox reports nothing about another's flow")
            .then(opened(side))
            .then(
                send(
                    UPLINK_EGRESS,
                    "eth0",
                    &error(leaving(side, 2, client), about, &quote(&inside, None)),
                )
                .is(Reason::IcmpErrorUntranslated),
            ),
    ]
}
