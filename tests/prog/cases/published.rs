//! Published ports, used by clients outside.

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, Packet, SYN},
    prog::{ENDPOINT_IN, Family, MAC_OUTSIDE, MAC_UPLINK, UPLINK_EGRESS, UPLINK_INGRESS},
};

use crate::case::{Case, Send, send};
use crate::{both, case, delivered, from_sandbox, inbound, leaving, tuple, tuple_from_any};

pub fn cases() -> Vec<Case> {
    let mut cases = both(opened);
    cases.extend(both(ranges));
    cases.extend(both(chosen));
    cases.extend(both(not_opened));
    cases.extend(both(routed));
    cases
}

fn at_eth0(packet: &Packet) -> Send {
    send(UPLINK_INGRESS, "eth0", packet)
}

fn opened(family: Family) -> Vec<Case> {
    let (client, host, inside) = (family.client(), family.host(), family.sandbox(1));
    let request = inbound(family, host).tcp(40_000, 8080, SYN);
    let open = || {
        let expected = request.clone().destination(inside).dport(80);
        at_eth0(&request)
            .is(Reason::Inbound)
            .sends(&delivered(expected, 1))
            .number_of_flows(1)
    };
    let flow = |state: &str| {
        let from = tuple(client, 40_000, host, 8080);
        let to = tuple(client, 40_000, inside, 80);
        format!("dnat tcp {from} as {to} {state}")
    };
    let reply = from_sandbox(family, 1, client).tcp(80, 40_000, SYN | ACK);
    let out = leaving(family, 1, client).tcp(80, 40_000, SYN | ACK);
    let query = inbound(family, host).udp(40_000, 5353);
    let udp_reply = leaving(family, 1, client).udp(53, 40_000);
    let datagram = |state: &str| {
        let from = tuple(client, 40_000, host, 5353);
        format!(
            "dnat udp {from} as {} {state}",
            tuple(client, 40_000, inside, 53)
        )
    };
    vec![
        case(
            family,
            "a connection from outside is translated and delivered",
        )
        .then(open().flows([flow("new")])),
        case(
            family,
            "the sandbox's reply leaves with the published address",
        )
        .then(open())
        .then(
            send(ENDPOINT_IN, "ve1", &reply)
                .is(Reason::Outbound)
                .sends(&reply.clone().routed().source(host).sport(8080))
                .flows([flow("syn-received")]),
        )
        .then(
            send(UPLINK_EGRESS, "eth0", &out)
                .is(Reason::Translated)
                .sends(&out.clone().source(host).sport(8080))
                .flows([flow("syn-received")]),
        )
        .then(
            at_eth0(&request.clone().flags(ACK))
                .is(Reason::Inbound)
                .sends(&delivered(
                    request.clone().flags(ACK).destination(inside).dport(80),
                    1,
                ))
                .flows([flow("established")]),
        ),
        case(family, "a repeated request belongs to the same flow")
            .then(open())
            .then(open().flows([flow("new")])),
        case(family, "a datagram and its reply are translated")
            .then(
                at_eth0(&query)
                    .is(Reason::Inbound)
                    .sends(&delivered(query.clone().destination(inside).dport(53), 1))
                    .flows([datagram("new")]),
            )
            .then(
                send(UPLINK_EGRESS, "eth0", &udp_reply)
                    .is(Reason::Translated)
                    .sends(&udp_reply.clone().source(host).sport(5353))
                    .flows([datagram("established")]),
            ),
        case(family, "a GSO packet is translated as a whole").then(
            at_eth0(&query.clone().payload(&[7; 2000]))
                .gso(1000)
                .is(Reason::Inbound)
                .sends(&delivered(
                    query
                        .clone()
                        .payload(&[7; 2000])
                        .destination(inside)
                        .dport(53),
                    1,
                ))
                .flows([datagram("new")]),
        ),
    ]
}

fn ranges(family: Family) -> Vec<Case> {
    let delivers = |port: u16, to: u16| {
        let request = inbound(family, family.host()).tcp(40_000, port, SYN);
        let out = request.clone().destination(family.sandbox(1)).dport(to);
        case(
            family,
            &format!("port {port} of a range is port {to} inside"),
        )
        .then(
            at_eth0(&request)
                .is(Reason::Inbound)
                .sends(&delivered(out, 1))
                .number_of_flows(1),
        )
    };
    let passes = |port: u16| {
        let request = inbound(family, family.host()).tcp(40_000, port, SYN);
        case(family, &format!("port {port} beside a range is the host's"))
            .then(at_eth0(&request).is(Reason::NotOurs))
    };
    let datagram = inbound(family, family.host()).udp(40_000, 20_000);
    vec![
        delivers(20_000, 30_000),
        delivers(20_050, 30_050),
        delivers(20_099, 30_099),
        passes(19_999),
        passes(20_100),
        case(family, "a range of the other protocol does not match")
            .then(at_eth0(&datagram).is(Reason::NotOurs)),
    ]
}

fn chosen(family: Family) -> Vec<Case> {
    let goes_to = |name: &str, to, port: u16, slot| {
        let request = inbound(family, to).tcp(40_000, port, SYN);
        let out = request.clone().destination(family.sandbox(slot)).dport(443);
        case(family, name).then(
            at_eth0(&request)
                .is(Reason::Inbound)
                .sends(&delivered(out, slot))
                .number_of_flows(1),
        )
    };
    let request = |from| {
        Packet::ip(from, family.host())
            .eth(MAC_OUTSIDE, MAC_UPLINK)
            .tcp(40_000, 9443, SYN)
    };
    let first = inbound(family, family.host()).tcp(40_000, 8080, SYN);
    let second = inbound(family, family.host2()).tcp(40_000, 8080, SYN);
    let (client, inside) = (family.client(), family.sandbox(1));
    let expected = second.clone().destination(inside).dport(80);
    let from = tuple(client, 40_000, family.host2(), 8080);
    let known = tuple(client, 40_000, family.host(), 8080);
    let four = inbound(family, family.host()).tcp(40_000, 8081, SYN);
    let four = if family.is_v4() {
        let out = four.clone().destination(family.sandbox(11)).dport(80);
        at_eth0(&four)
            .is(Reason::Inbound)
            .sends(&delivered(out, 11))
            .number_of_flows(1)
    } else {
        at_eth0(&four).is(Reason::NotOurs)
    };
    vec![
        goes_to(
            "an exact address precedes the unspecified address",
            family.host(),
            8443,
            1,
        ),
        goes_to(
            "an entry for all addresses of a family comes second",
            family.host2(),
            8443,
            2,
        ),
        goes_to(
            "an entry for both families comes last",
            family.host(),
            8444,
            3,
        ),
        case(family, "a source in the allow-list is accepted").then(
            at_eth0(&request(client))
                .is(Reason::Inbound)
                .sends(&delivered(
                    request(client).destination(inside).dport(443),
                    1,
                ))
                .number_of_flows(1),
        ),
        case(family, "a source that is not in the allow-list is dropped")
            .then(at_eth0(&request(family.unlisted_client())).is(Reason::NotAllowed)),
        case(
            family,
            "a sandbox without an address of the family does not publish in it",
        )
        .then(four),
        case(
            family,
            "a client that uses two addresses of the node from one port gets two source ports",
        )
        .then(
            at_eth0(&first)
                .is(Reason::Inbound)
                .sends(&delivered(first.clone().destination(inside).dport(80), 1))
                .number_of_flows(1),
        )
        .then(
            at_eth0(&second)
                .is(Reason::Inbound)
                .sends_with_port(move |port| delivered(expected.clone().sport(port), 1))
                .flows([
                    format!(
                        "dnat tcp {known} as {} new",
                        tuple(client, 40_000, inside, 80)
                    ),
                    format!(
                        "dnat tcp {from} as {} new",
                        tuple_from_any(client, inside, 80)
                    ),
                ]),
        ),
    ]
}

fn not_opened(family: Family) -> Vec<Case> {
    let host = family.host();
    let passes =
        |name: &str, packet: Packet, reason| case(family, name).then(at_eth0(&packet).is(reason));
    let request = inbound(family, host).tcp(40_000, 8080, SYN);
    rows! { passes;
        "an unpublished port is passed to the host": request.clone().dport(22), Reason::NotOurs;
        "an echo request is passed to the host": inbound(family, host).echo_request(9), Reason::NotOurs;
        "ESP is passed to the host": inbound(family, host).protocol(50), Reason::NotOurs;
        "SCTP is passed to the host": inbound(family, host).protocol(132), Reason::NotOurs;
    }
}

fn routed(family: Family) -> Vec<Case> {
    let (client, inside) = (family.client(), family.sandbox(4));
    let request = inbound(family, inside).tcp(40_000, 80, SYN);
    let reply = leaving(family, 4, client).tcp(80, 40_000, SYN | ACK);
    let flow = |state: &str| {
        let text = tuple(client, 40_000, inside, 80);
        format!("none tcp {text} as {text} {state}")
    };
    vec![
        case(
            family,
            "a published port of a routed network is reached at the sandbox's own address",
        )
        .then(
            at_eth0(&request)
                .is(Reason::Inbound)
                .sends(&delivered(request.clone(), 4))
                .flows([flow("new")]),
        )
        .then(
            send(UPLINK_EGRESS, "eth0", &reply)
                .is(Reason::Translated)
                .flows([flow("syn-received")]),
        ),
        case(family, "another port of a routed network is not reached")
            .then(at_eth0(&request.clone().dport(81)).is(Reason::DirectAccess)),
    ]
}
