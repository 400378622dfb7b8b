//! Traffic from a sandbox to the outside.

use std::net::IpAddr;

use netpath::{
    model::Protocol,
    plan::tables::{PortEntry, PortKey},
};
use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, Packet, SYN},
    prog::{ENDPOINT_IN, Family, MAC_OUTSIDE, MAC_UPLINK, UPLINK_EGRESS, UPLINK_INGRESS, port},
};

use crate::case::{Case, Send, send};
use crate::{both, case, delivered, from_sandbox, icmp, inbound, leaving, tuple, tuple_from_any};

pub fn cases() -> Vec<Case> {
    let mut cases = both(there_and_back);
    cases.extend(both(ports));
    cases.extend(both(echoes));
    cases.extend(both(untranslated));
    cases
}

fn at_eth0(packet: &Packet) -> Send {
    send(UPLINK_EGRESS, "eth0", packet)
}

fn there_and_back(family: Family) -> Vec<Case> {
    let (client, host, inside) = (family.client(), family.host(), family.sandbox(1));
    let request = from_sandbox(family, 1, client).tcp(61_500, 80, SYN);
    let out = leaving(family, 1, client).tcp(61_500, 80, SYN);
    let reply = inbound(family, host).tcp(80, 61_500, SYN | ACK);
    let flow = |protocol: &str, state: &str| {
        let from = tuple(inside, 61_500, client, 80);
        format!(
            "snat {protocol} {from} as {} {state}",
            tuple(host, 61_500, client, 80)
        )
    };
    let hashed = leaving(family, 1, client).tcp(1_000, 80, SYN);
    let datagram = leaving(family, 1, client).udp(61_500, 80);
    let back = inbound(family, host).udp(80, 61_500);
    let expected = hashed.clone().source(host);
    let from = tuple(inside, 1_000, client, 80);
    let big = from_sandbox(family, 1, client)
        .udp(61_500, 80)
        .payload(&[7; 2000]);
    vec![
        case(
            family,
            "a request is routed and translated, and its reply delivered",
        )
        .then(
            send(ENDPOINT_IN, "ve1", &request)
                .is(Reason::Outbound)
                .sends(&request.clone().routed().source(host))
                .flows([flow("tcp", "new")]),
        )
        .then(
            at_eth0(&out)
                .is(Reason::Translated)
                .sends(&out.clone().source(host))
                .flows([flow("tcp", "new")]),
        )
        .then(
            send(UPLINK_INGRESS, "eth0", &reply)
                .is(Reason::Inbound)
                .sends(&delivered(reply.clone().destination(inside), 1))
                .flows([flow("tcp", "syn-received")]),
        )
        .then(
            at_eth0(&out.clone().flags(ACK))
                .is(Reason::Translated)
                .sends(&out.clone().flags(ACK).source(host))
                .flows([flow("tcp", "established")]),
        ),
        case(family, "a datagram is translated and its reply delivered")
            .then(
                at_eth0(&datagram)
                    .is(Reason::Translated)
                    .sends(&datagram.clone().source(host))
                    .flows([flow("udp", "new")]),
            )
            .then(
                send(UPLINK_INGRESS, "eth0", &back)
                    .is(Reason::Inbound)
                    .sends(&delivered(back.clone().destination(inside), 1))
                    .flows([flow("udp", "established")]),
            ),
        case(family, "a port below 1024 is replaced by a higher one").then(
            at_eth0(&hashed)
                .is(Reason::Translated)
                .sends_with_port(move |port| {
                    assert!(port >= 1_024, "{port}");
                    expected.clone().sport(port)
                })
                .flows([format!(
                    "snat tcp {from} as {} new",
                    tuple_from_any(host, client, 80)
                )]),
        ),
        case(family, "a GSO packet longer than the MTU is forwarded").then(
            send(ENDPOINT_IN, "ve1", &big)
                .gso(1000)
                .is(Reason::Outbound)
                .sends(&big.clone().routed().source(host))
                .number_of_flows(1),
        ),
        case(family, "a reply with TTL 1 is passed to the stack")
            .then(
                at_eth0(&datagram)
                    .is(Reason::Translated)
                    .sends(&datagram.clone().source(host))
                    .number_of_flows(1),
            )
            .then(
                send(UPLINK_INGRESS, "eth0", &back.clone().ttl(1))
                    .is(Reason::TtlExceeded)
                    .sends(&back.clone().ttl(1).destination(inside)),
            ),
    ]
}

/// A request that may leave with any port of the range.
fn leaves(packet: &Packet, host: IpAddr, number: usize) -> Send {
    let expected = packet.clone().source(host);
    at_eth0(packet)
        .is(Reason::Translated)
        .sends_with_port(move |port| expected.clone().sport(port))
        .number_of_flows(number)
}

fn ports(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let request = |slot, sport| leaving(family, slot, client).tcp(sport, 80, SYN);
    let kept = |packet: Packet, number| {
        at_eth0(&packet)
            .is(Reason::Translated)
            .sends(&packet.clone().source(host))
            .number_of_flows(number)
    };
    let elsewhere = leaving(family, 1, family.unlisted_client()).tcp(61_500, 80, SYN);
    let same_port_everywhere = case(
        family,
        "one inner port is one outer port for every destination",
    )
    .then(leaves(&request(1, 1_000), host, 1))
    .then(leaves(
        &leaving(family, 1, family.unlisted_client()).tcp(1_000, 80, SYN),
        host,
        2,
    ))
    .change(|prog| {
        let ports: Vec<_> = prog.flows().iter().map(|flow| flow.outer_port()).collect();
        assert_eq!(ports[0], ports[1]);
    });
    let not_published = case(family, "a published port is never chosen")
        .then(leaves(&request(1, 62_000), host, 1))
        .change(|prog| assert_ne!(prog.flows()[0].outer_port(), 62_000));
    vec![
        case(family, "a used port is replaced")
            .then(kept(request(1, 61_500), 1))
            .then(leaves(&request(2, 61_500), host, 2)),
        case(
            family,
            "a port used towards one destination is free towards another",
        )
        .then(kept(request(2, 61_500), 1))
        .then(kept(elsewhere, 2)),
        same_port_everywhere,
        not_published,
        case(family, "a port published for TCP is free for UDP")
            .then(kept(leaving(family, 1, client).udp(62_000, 80), 1)),
        case(
            family,
            "without a free port the new flow is dropped and the old one is kept",
        )
        .change(|prog| prog.tables().put(&all_ports_but(40_000)).expect("ports"))
        .then(kept(request(1, 40_000), 1))
        .then(at_eth0(&request(2, 40_000)).is(Reason::NoPort))
        .then(kept(request(1, 40_000), 1))
        .change(|prog| {
            let keys = all_ports_but(40_000).map(|(key, _)| key);
            prog.tables().remove::<PortEntry>(&keys).expect("ports");
        }),
    ]
}

/// Published ranges of TCP with every port that SNAT may use, except one.
fn all_ports_but(free: u16) -> [(PortKey, PortEntry); 2] {
    [(1_024, free - 1), (free + 1, u16::MAX)]
        .map(|range| port(Protocol::Tcp, None, range, (range.0, 3), 0))
}

fn echoes(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let request = |slot| leaving(family, slot, client).echo_request(77);
    let reply = |slot, id| {
        let reply = inbound(family, host).echo_reply(id);
        send(UPLINK_INGRESS, "eth0", &reply)
            .is(Reason::Inbound)
            .sends(&delivered(
                inbound(family, family.sandbox(slot)).echo_reply(77),
                slot,
            ))
    };
    let first = || {
        at_eth0(&request(1))
            .is(Reason::Translated)
            .sends(&request(1).source(host))
            .number_of_flows(1)
    };
    let flow = |state: &str| {
        let from = tuple(family.sandbox(1), 77, client, 0);
        format!(
            "snat {} {from} as {} {state}",
            icmp(family),
            tuple(host, 77, client, 0)
        )
    };
    let request_to_host = inbound(family, host).echo_request(0);
    vec![
        of_the_node(family, 78),
        before_the_node(family, 79),
        case(
            family,
            "an echo request keeps its identifier and gets its reply",
        )
        .then(first().flows([flow("new")]))
        .then(reply(1, 77).flows([flow("established")])),
        case(
            family,
            "a second sandbox with the same identifier gets another one",
        )
        .then(first())
        .then(leaves(&request(2), host, 2))
        .then(reply(1, 77))
        .change(|prog| {
            let other = prog.flows().iter().any(|flow| flow.outer_port() != 77);
            assert!(other, "both have one identifier");
        }),
        case(
            family,
            "an echo reply without a request is passed to the host",
        )
        .then(
            send(
                UPLINK_INGRESS,
                "eth0",
                &inbound(family, host).echo_reply(78),
            )
            .is(Reason::NotOurs),
        ),
        case(
            family,
            "an echo request from outside with identifier 0 is no reply",
        )
        .then(
            at_eth0(&leaving(family, 1, client).echo_request(0))
                .is(Reason::Translated)
                .sends(&leaving(family, 1, client).echo_request(0).source(host))
                .number_of_flows(1),
        )
        .then(send(UPLINK_INGRESS, "eth0", &request_to_host).is(Reason::NotOurs)),
    ]
}

/// An echo request of the node, and its reply. The record of host echoes is not reset between cases.
fn echo_of_host(family: Family, id: u16) -> [Send; 2] {
    let request = Packet::ip(family.host(), family.client())
        .eth(MAC_UPLINK, MAC_OUTSIDE)
        .echo_request(id);
    let reply = inbound(family, family.host()).echo_reply(id);
    [
        at_eth0(&request).is(Reason::NotOurs),
        send(UPLINK_INGRESS, "eth0", &reply).is(Reason::NotOurs),
    ]
}

fn of_the_node(family: Family, id: u16) -> Case {
    let [request, reply] = echo_of_host(family, id);
    let inside = leaving(family, 1, family.client()).echo_request(id);
    case(
        family,
        "an identifier that the node uses is replaced, and its reply is passed to the node",
    )
    .then(request)
    .then(leaves(&inside, family.host(), 1))
    .change(move |prog| {
        let kept = prog.flows().iter().any(|flow| flow.outer_port() == id);
        assert!(!kept, "the node's identifier");
    })
    .then(reply)
}

fn before_the_node(family: Family, id: u16) -> Case {
    let [request, reply] = echo_of_host(family, id);
    let inside = leaving(family, 1, family.client()).echo_request(id);
    case(
        family,
        "a reply to the node's identifier reaches the node although a sandbox used it before",
    )
    .then(
        at_eth0(&inside)
            .is(Reason::Translated)
            .sends(&inside.clone().source(family.host()))
            .number_of_flows(1),
    )
    .then(request.number_of_flows(0))
    .then(reply)
}

fn untranslated(family: Family) -> Vec<Case> {
    let client = family.client();
    let tracked = |name: &str, slot| {
        let request = leaving(family, slot, client).udp(40_000, 53);
        let reply = inbound(family, family.sandbox(slot)).udp(53, 40_000);
        let text = tuple(family.sandbox(slot), 40_000, client, 53);
        case(family, name)
            .then(
                at_eth0(&request)
                    .is(Reason::Translated)
                    .flows([format!("none udp {text} as {text} new")]),
            )
            .then(
                send(UPLINK_INGRESS, "eth0", &reply)
                    .is(Reason::Inbound)
                    .sends(&delivered(reply.clone(), slot))
                    .flows([format!("none udp {text} as {text} established")]),
            )
    };
    let own = Packet::ip(family.host(), client).udp(61_500, 53);
    let gateway = Packet::ip(family.gateway(1), client).udp(61_500, 53);
    vec![
        tracked("the source of a routed network is unchanged", 4),
        tracked("without masquerading the source is unchanged", 9),
        case(family, "a packet of the host is unchanged").then(at_eth0(&own).is(Reason::NotOurs)),
        case(
            family,
            "a packet of the host from a gateway's address is unchanged",
        )
        .then(at_eth0(&gateway).is(Reason::NotOurs)),
        case(
            family,
            "a packet that the host forwards for others is unchanged",
        )
        .then(at_eth0(&Packet::ip(family.unlisted_client(), client).udp(1, 2)).is(Reason::NotOurs)),
    ]
}
