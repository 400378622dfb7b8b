//! Traffic between sandboxes, and between a sandbox and its node.

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, Packet, SYN},
    prog::{ENDPOINT_IN, ENDPOINT_OUT, Family, gateway_mac, sandbox_mac},
};

use crate::case::{Case, send};
use crate::{both, case, delivered, endpoint_sends, from_sandbox, tuple, tuple_from_any};

pub fn cases() -> Vec<Case> {
    let mut cases = both(siblings);
    cases.extend(both(hairpin));
    cases.extend(both(to_itself));
    cases.extend(both(other_networks));
    cases.extend(both(host));
    cases.extend(both(delivered_by_others));
    cases
}

fn siblings(family: Family) -> Vec<Case> {
    let to_sibling = |name: &str, slots: (u32, u32), shape: fn(Packet) -> Packet| {
        let (slot, sibling) = slots;
        let packet = shape(from_sandbox(family, slot, family.sandbox(sibling)));
        // A frame to the bridge's address is delivered too, with another destination MAC address.
        let expected = packet.clone().eth_destination(sandbox_mac(sibling));
        case(family, name).then(
            endpoint_sends(slot, &packet)
                .is(Reason::Sibling)
                .sends(&expected),
        )
    };
    let refused = from_sandbox(family, 7, family.sandbox(8)).udp(1, 2);
    vec![
        to_sibling("a segment to a sibling is unchanged", (1, 2), |packet| {
            packet.tcp(1, 2, SYN)
        }),
        to_sibling("a datagram to a sibling is unchanged", (2, 1), |packet| {
            packet.udp(1, 2)
        }),
        to_sibling(
            "an echo request to a sibling is unchanged",
            (1, 2),
            |packet| packet.echo_request(1),
        ),
        to_sibling(
            "a packet of any protocol to a sibling is delivered",
            (1, 2),
            |packet| packet.protocol(50),
        ),
        to_sibling(
            "a later fragment to a sibling is delivered",
            (1, 2),
            |packet| packet.udp(1, 2).fragment(100, false),
        ),
        to_sibling(
            "an ICMP error to a sibling is delivered",
            (1, 2),
            |packet| packet.icmp(3, 1, [0; 4]),
        ),
        to_sibling("a packet to a sibling keeps its TTL", (1, 2), |packet| {
            packet.udp(1, 2).ttl(1)
        }),
        to_sibling(
            "a sibling in an internal network is reached",
            (5, 6),
            |packet| packet.udp(1, 2),
        ),
        to_sibling(
            "a sibling in a routed network is reached",
            (4, 4),
            |packet| packet.udp(1, 2),
        ),
        case(
            family,
            "a packet to a sibling is dropped without inter-container communication",
        )
        .then(endpoint_sends(7, &refused).is(Reason::IccOff)),
        case(
            family,
            "a later fragment is dropped without inter-container communication",
        )
        .then(endpoint_sends(7, &refused.clone().fragment(100, true)).is(Reason::IccOff)),
    ]
}

/// A connection from a sandbox to a port that another sandbox publishes, and the reply.
fn through_host(family: Family, name: &str, client: u32) -> Case {
    let (source, host, inside) = (family.sandbox(client), family.host(), family.sandbox(1));
    let request = from_sandbox(family, client, host).tcp(40_000, 8080, SYN);
    let reply = from_sandbox(family, 1, source).tcp(80, 40_000, SYN | ACK);
    let flow = |state: &str| {
        let text = tuple(source, 40_000, host, 8080);
        format!(
            "hairpin tcp {text} as {} {state}",
            tuple(source, 40_000, inside, 80)
        )
    };
    case(family, name)
        .then(
            endpoint_sends(client, &request)
                .is(Reason::Hairpin)
                .sends(&delivered(request.clone().destination(inside).dport(80), 1))
                .flows([flow("new")]),
        )
        .then(
            endpoint_sends(1, &reply)
                .is(Reason::Hairpin)
                .sends(&delivered(reply.clone().source(host).sport(8080), client))
                .flows([flow("syn-received")]),
        )
        .then(
            endpoint_sends(client, &request.clone().flags(ACK))
                .is(Reason::Hairpin)
                .sends(&delivered(
                    request.clone().flags(ACK).destination(inside).dport(80),
                    1,
                ))
                .flows([flow("established")]),
        )
}

fn hairpin(family: Family) -> Vec<Case> {
    let asks = |slot| from_sandbox(family, slot, family.host()).tcp(40_000, 9443, SYN);
    let last_hop = from_sandbox(family, 3, family.host())
        .tcp(40_000, 8080, SYN)
        .ttl(1);
    vec![
        through_host(family, "a sibling uses a published port", 2),
        through_host(family, "another network uses a published port", 3),
        through_host(
            family,
            "siblings without inter-container communication use a published port",
            7,
        ),
        case(family, "a sandbox in the allow-list uses a published port").then(
            endpoint_sends(2, &asks(2))
                .is(Reason::Hairpin)
                .sends(&delivered(
                    asks(2).destination(family.sandbox(1)).dport(443),
                    1,
                ))
                .number_of_flows(1),
        ),
        case(family, "a sandbox that is not in the allow-list is refused")
            .then(endpoint_sends(3, &asks(3)).is(Reason::NotAllowed)),
        case(family, "a request with TTL 1 is passed to the stack").then(
            endpoint_sends(3, &last_hop)
                .is(Reason::TtlExceeded)
                .sends(&last_hop.clone().destination(family.sandbox(1)).dport(80))
                .number_of_flows(1),
        ),
    ]
}

fn to_itself(family: Family) -> Vec<Case> {
    let (inside, host, gateway) = (family.sandbox(1), family.host(), family.gateway(1));
    let request = from_sandbox(family, 1, host).tcp(40_000, 8080, SYN);
    let expected = delivered(request.clone(), 1)
        .source(gateway)
        .destination(inside)
        .dport(80);
    let kept = from_sandbox(family, 1, host).tcp(61_500, 8080, SYN);
    let reply = from_sandbox(family, 1, gateway).tcp(80, 61_500, SYN | ACK);
    let flow = |state: &str| {
        let text = tuple(inside, 61_500, host, 8080);
        format!(
            "hairpin tcp {text} as {} {state}",
            tuple(gateway, 61_500, inside, 80)
        )
    };
    let mut cases = vec![
        case(
            family,
            "a sandbox reaches its own published port from its gateway's address",
        )
        .then(
            endpoint_sends(1, &request)
                .is(Reason::Hairpin)
                .sends_with_port(move |port| expected.clone().sport(port))
                .flows([format!(
                    "hairpin tcp {} as {} new",
                    tuple(inside, 40_000, host, 8080),
                    tuple_from_any(gateway, inside, 80)
                )]),
        ),
        case(family, "the reply of a published port reaches the sibling")
            .then(
                endpoint_sends(1, &kept)
                    .is(Reason::Hairpin)
                    .sends(
                        &delivered(kept.clone(), 1)
                            .source(gateway)
                            .destination(inside)
                            .dport(80),
                    )
                    .flows([flow("new")]),
            )
            .then(
                endpoint_sends(1, &reply)
                    .is(Reason::Hairpin)
                    .sends(
                        &delivered(reply.clone(), 1)
                            .source(host)
                            .sport(8080)
                            .destination(inside),
                    )
                    .flows([flow("syn-received")]),
            ),
    ];
    if family.is_v4() {
        let request = from_sandbox(family, 11, host).tcp(40_000, 8081, SYN);
        cases.push(
            case(family, "a hairpin without a gateway address is dropped")
                .then(endpoint_sends(11, &request).is(Reason::NoAddress)),
        );
    }
    cases
}

fn other_networks(family: Family) -> Vec<Case> {
    let open = from_sandbox(family, 1, family.sandbox(4)).tcp(40_000, 80, SYN);
    let reply = from_sandbox(family, 4, family.sandbox(1)).tcp(80, 40_000, SYN | ACK);
    let dropped = |name: &str, slot, to, shape: fn(Packet) -> Packet| {
        let packet = shape(from_sandbox(family, slot, family.sandbox(to)));
        case(family, name).then(endpoint_sends(slot, &packet).is(Reason::Isolated))
    };
    vec![
        dropped("another network is not reached", 1, 3, |packet| {
            packet.tcp(1, 80, SYN)
        }),
        dropped("another network is not reached by echo", 1, 3, |packet| {
            packet.echo_request(1)
        }),
        case(family, "another network is not reached by later fragments").then(
            send(
                ENDPOINT_IN,
                "ve1",
                &from_sandbox(family, 1, family.sandbox(3))
                    .udp(1, 2)
                    .fragment(9, false),
            )
            .is(Reason::FragmentHeld),
        ),
        dropped(
            "another network is not reached by unknown protocols",
            1,
            3,
            |packet| packet.protocol(50),
        ),
        dropped("an internal network is not reached", 1, 5, |packet| {
            packet.udp(1, 2)
        }),
        dropped(
            "an internal network does not reach another network",
            5,
            3,
            |packet| packet.udp(1, 2),
        ),
        dropped(
            "an internal network does not reach a port of a routed network",
            5,
            4,
            |packet| packet.tcp(1, 80, SYN),
        ),
        dropped(
            "an unpublished port of a routed network is not reached",
            1,
            4,
            |packet| packet.tcp(1, 81, SYN),
        ),
        case(
            family,
            "a published port of a routed network is reached from another network",
        )
        .then(
            endpoint_sends(1, &open)
                .is(Reason::Hairpin)
                .sends(&delivered(open.clone(), 4))
                .number_of_flows(1),
        )
        .then(
            endpoint_sends(4, &reply)
                .is(Reason::Hairpin)
                .sends(&delivered(reply.clone(), 1)),
        ),
    ]
}

fn host(family: Family) -> Vec<Case> {
    let to_host = |name: &str, slot, packet: Packet| {
        case(family, name).then(endpoint_sends(slot, &packet).is(Reason::ToHost))
    };
    let host = family.host();
    vec![
        to_host(
            "a packet to a host service is passed to the stack",
            1,
            from_sandbox(family, 1, host).tcp(1, 22, SYN),
        ),
        to_host(
            "an echo request to the gateway is passed to the stack",
            1,
            from_sandbox(family, 1, family.gateway(1)).echo_request(1),
        ),
        to_host(
            "an ICMP error to the node is passed to the stack",
            1,
            from_sandbox(family, 1, host).icmp(3, 1, [0; 4]),
        ),
        to_host(
            "an internal sandbox reaches the node, but no published port",
            5,
            from_sandbox(family, 5, host).tcp(1, 8080, SYN),
        ),
        to_host(
            "a sandbox without inter-container communication reaches its gateway",
            7,
            from_sandbox(family, 7, family.gateway(5)).udp(1, 53),
        ),
    ]
}

fn delivered_by_others(family: Family) -> Vec<Case> {
    let to = |slot: u32, source| {
        let packet = Packet::ip(source, family.sandbox(slot)).udp(1, 2);
        let packet = packet.eth(gateway_mac(slot), sandbox_mac(slot));
        send(ENDPOINT_OUT, format!("ve{slot}"), &packet)
    };
    let arp = Packet::ethertype(0x0806, &[0; 28]);
    let client = family.client();
    vec![
        case(family, "a packet of the node is delivered")
            .then(to(1, family.gateway(1)).is(Reason::FromHost)),
        case(
            family,
            "a packet that the bridge forwards to a sibling is delivered",
        )
        .then(to(2, family.sandbox(1)).from("ve1").is(Reason::Bridged)),
        case(
            family,
            "a packet that the stack forwards from another network is dropped",
        )
        .then(
            to(1, family.sandbox(3))
                .from("ve3")
                .is(Reason::DirectAccess),
        ),
        case(
            family,
            "a packet that the stack forwards from outside is dropped",
        )
        .then(to(1, client).from("eth0").is(Reason::DirectAccess)),
        case(family, "an ARP message from the bridge is delivered").then(
            send(ENDPOINT_OUT, "ve1", &arp)
                .from("eth0")
                .is(Reason::LinkLocal),
        ),
        case(family, "a packet to a device without endpoint is dropped").then(
            send(ENDPOINT_OUT, "lan0", &arp)
                .from("eth0")
                .is(Reason::EndpointGone),
        ),
    ]
}
