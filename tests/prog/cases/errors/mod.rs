//! ICMP errors: the outer header and the quoted packet are translated back, for every sender of the error.

mod published;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{Checksum, Packet, SYN},
    prog::{ENDPOINT_IN, ENDPOINT_OUT, Family, UPLINK_EGRESS, UPLINK_INGRESS},
};

use crate::{
    both, case,
    case::{Case, Send, send},
    delivered, from_sandbox, inbound, leaving,
};
use published::{opened, published_request};

const ETHERNET: usize = 14;

pub fn cases() -> Vec<Case> {
    let mut cases = both(about_outbound);
    cases.extend(both(published::about_published));
    cases.extend(both(published::about_hairpins));
    cases.extend(both(by_the_stack));
    cases.extend(both(left_alone));
    cases
}

/// Types and codes of errors, with the four bytes after the checksum.
fn kinds(family: Family) -> Vec<(u8, u8, [u8; 4])> {
    if family.is_v4() {
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

fn port_unreachable(family: Family) -> (u8, u8) {
    if family.is_v4() { (3, 3) } else { (1, 4) }
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
fn reported(
    family: Family,
    name: &str,
    before: &Packet,
    after: &Packet,
    bytes: Option<usize>,
) -> Case {
    let router = family.unlisted_client();
    let about = port_unreachable(family);
    let carrier = inbound(family, family.host()).source(router);
    let arrives = error(carrier.clone(), about, &quote(after, bytes));
    let expected = error(
        delivered(carrier.destination(family.sandbox(1)), 1),
        about,
        &quote(before, bytes),
    );
    case(family, name)
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

fn about_outbound(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let tcp = leaving(family, 1, client).tcp(61_500, 80, SYN);
    let udp = leaving(family, 1, client).udp(61_500, 5353);
    let echo = leaving(family, 1, client).echo_request(61_500);
    let about = port_unreachable(family);
    let mut cases = Vec::new();
    for (what, before) in [("TCP", &tcp), ("UDP", &udp), ("an echo", &echo)] {
        let after = before.clone().source(host);
        for (much, bytes) in [("eight bytes of it", Some(8)), ("all of it", None)] {
            let name = format!("an error about {what} that quotes {much} is translated back");
            cases.push(reported(family, &name, before, &after, bytes));
        }
    }
    let after = udp.clone().source(host);
    for (kind, code, rest) in kinds(family) {
        let arrives = inbound(family, host)
            .icmp(kind, code, rest)
            .payload(&quote(&after, None));
        let expected = delivered(inbound(family, family.sandbox(1)), 1)
            .icmp(kind, code, rest)
            .payload(&quote(&udp, None));
        cases.push(
            case(
                family,
                &format!("type {kind} code {code} is translated back"),
            )
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
    let (kind, words) = if family.is_v4() {
        (11, [0, 32, 0, 0])
    } else {
        (3, [16, 0, 0, 0])
    };
    cases.push(
        case(family, "an extension after the quote is unchanged")
            .then(leaves(&long, &after))
            .then(
                send(
                    UPLINK_INGRESS,
                    "eth0",
                    &inbound(family, host)
                        .icmp(kind, 0, words)
                        .payload(&extended(&after)),
                )
                .is(Reason::Inbound)
                .sends(
                    &delivered(inbound(family, family.sandbox(1)), 1)
                        .icmp(kind, 0, words)
                        .payload(&extended(&long)),
                ),
            ),
    );
    if family.is_v4() {
        for words in 1..=10 {
            let optional = udp.clone().options(&vec![1; words * 4]);
            let name = format!("a quote with {words} words of options is translated");
            let after = optional.clone().source(host);
            cases.push(reported(family, &name, &optional, &after, Some(8)));
        }
        let none = udp.clone().checksum(Checksum::Absent);
        let name = "an absent UDP checksum in a quote stays absent";
        cases.push(reported(
            family,
            name,
            &none,
            &none.clone().source(host),
            None,
        ));
    }
    let wrong = error(
        inbound(family, host),
        about,
        &quote(&udp.clone().source(host), None),
    );
    cases.push(
        case(family, "a wrong checksum of an error stays wrong")
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
                        delivered(inbound(family, family.sandbox(1)), 1),
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

/// The stack receives translated packets when they cannot be forwarded; its errors quote those.
fn by_the_stack(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let exceeded = if family.is_v4() { (11, 0) } else { (3, 0) };
    let (request, _) = published_request(family);
    let last = |packet: &Packet| packet.clone().ttl(1);
    let got = request.clone().destination(family.sandbox(1)).dport(53);
    let carrier = Packet::ip(host, client);
    let hairpin = from_sandbox(family, 2, host).udp(61_500, 5353);
    let hairpin_got = hairpin.clone().destination(family.sandbox(1)).dport(53);
    let to_sibling = Packet::ip(family.gateway(1), family.sandbox(2));
    vec![
        case(
            family,
            "time exceeded for a request has the node's own address",
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
        case(
            family,
            "time exceeded for a sibling's request has the node's address",
        )
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
        case(family, "an error about the node's own traffic is unchanged").then(
            send(
                UPLINK_EGRESS,
                "eth0",
                &error(
                    carrier.clone(),
                    exceeded,
                    &quote(&inbound(family, host).udp(1, 2), None),
                ),
            )
            .is(Reason::NotOurs),
        ),
    ]
}

fn left_alone(family: Family) -> Vec<Case> {
    let (client, host, about) = (family.client(), family.host(), port_unreachable(family));
    let udp = leaving(family, 1, client).udp(61_500, 5353);
    let after = udp.clone().source(host);
    let to_host = |name: &str, arrives: Packet| {
        case(family, name)
            .then(leaves(&udp, &after))
            .then(send(UPLINK_INGRESS, "eth0", &arrives).is(Reason::IcmpError))
    };
    let redirect = if family.is_v4() { (5, 1) } else { (5, 0) };
    let inside = inbound(family, host)
        .udp(40_000, 5353)
        .destination(family.sandbox(1))
        .dport(53);
    vec![
        to_host(
            "an error about another port is passed to the host",
            error(
                inbound(family, host),
                about,
                &quote(&after.clone().sport(61_501), None),
            ),
        ),
        to_host(
            "an error about another peer is passed to the host",
            error(
                inbound(family, host),
                about,
                &quote(&after.clone().dport(5354), None),
            ),
        ),
        to_host(
            "an error whose quote has no ports is passed to the host",
            error(inbound(family, host), about, &quote(&after, Some(6))),
        ),
        to_host(
            "an error about a later fragment is not translated",
            error(
                inbound(family, host),
                about,
                &quote(&after.clone().fragment(1, false), None),
            ),
        ),
        to_host(
            "an error about a packet of another host is passed to the host",
            error(
                inbound(family, host),
                about,
                &quote(&after.clone().source(family.host2()), None),
            ),
        ),
        to_host(
            "a redirect does not reach a sandbox",
            error(inbound(family, host), redirect, &quote(&after, None)),
        ),
        case(
            family,
            "an error of a sandbox about another sandbox's flow is dropped",
        )
        .then(opened(family))
        .then(
            send(
                UPLINK_EGRESS,
                "eth0",
                &error(leaving(family, 2, client), about, &quote(&inside, None)),
            )
            .is(Reason::IcmpErrorUntranslated),
        ),
    ]
}
