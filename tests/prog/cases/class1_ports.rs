//! Who owns an outer port: the sandbox that has published it, the node, another NAT of the node, or a flow.

use netpath::{
    model::Protocol,
    plan::{
        own_ports::{OwnPortEntry, OwnPortKey},
        tables::{PortEntry, PortKey},
    },
};
use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, FIN, Packet, SYN},
    prog::{
        ENDPOINT_IN, ENDPOINT_OUT, Family, MAC_OUTSIDE, MAC_UPLINK, PacketContext, Prog,
        UPLINK_EGRESS, UPLINK_INGRESS, gateway_mac, port, sandbox_mac,
    },
};

use crate::case::{Case, Send, send};
use crate::{both, case, delivered, inbound, leaving};

pub fn cases() -> Vec<Case> {
    let mut cases = both(own_ports);
    cases.extend(both(exchanges));
    cases.extend(both(other_nats));
    cases
}

fn at_eth0(packet: &Packet) -> Send {
    send(UPLINK_EGRESS, "eth0", packet)
}

fn arrives(packet: &Packet) -> Send {
    send(UPLINK_INGRESS, "eth0", packet)
}

/// A packet of a sandbox leaves with this port.
fn leaves_from(family: Family, packet: &Packet, port: u16) -> Send {
    at_eth0(packet)
        .is(Reason::Translated)
        .sends(&packet.clone().source(family.host()).sport(port))
        .number_of_flows(1)
}

/// A packet of a sandbox leaves with any port but this one.
fn leaves_elsewhere(family: Family, packet: &Packet, port: u16) -> Send {
    let expected = packet.clone().source(family.host());
    at_eth0(packet)
        .is(Reason::Translated)
        .sends_with_port(move |outer| {
            assert_ne!(outer, port);
            expected.clone().sport(outer)
        })
        .number_of_flows(1)
}

/// A packet that leaves with the node's address, untranslated by any program.
fn of_node(family: Family) -> Packet {
    Packet::ip(family.host(), family.client()).eth(MAC_UPLINK, MAC_OUTSIDE)
}

/// Publishes a UDP port of sandbox 1 at one address or, without one, at every address.
fn publish(prog: &mut Prog, host_ip: Option<std::net::IpAddr>, host: u16, inner: u16) {
    let (key, entry) = port(Protocol::Udp, host_ip, (host, host), (inner, 1), 0);
    prog.tables().put(&[(key, entry)]).expect("port");
    prog.tables()
        .put(&[own(host_ip, host, inner)])
        .expect("own port");
}

fn own(host_ip: Option<std::net::IpAddr>, host: u16, inner: u16) -> (OwnPortKey, OwnPortEntry) {
    let (ports, entry): (PortKey, PortEntry) =
        port(Protocol::Udp, host_ip, (inner, inner), (host, 1), 0);
    let key = OwnPortKey { endpoint: 1, ports };
    let entry = OwnPortEntry {
        host_port: entry.target,
        generation: entry.generation,
    };
    (key, entry)
}

fn withdraw(prog: &mut Prog, host_ip: Option<std::net::IpAddr>, host: u16, inner: u16) {
    let (key, _) = port(Protocol::Udp, host_ip, (host, host), (inner, 1), 0);
    prog.tables().remove::<PortEntry>(&[key]).expect("port");
    let (key, _) = own(host_ip, host, inner);
    prog.tables()
        .remove::<OwnPortEntry>(&[key])
        .expect("own port");
}

fn own_ports(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let out = |slot| leaving(family, slot, client).udp(5060, 5060);
    let back = inbound(family, host).udp(5060, 5061);
    let any_of_other = family.pick([0, 0, 0, 0], "::");
    let other_family = if family.is_v4() { "::" } else { "0.0.0.0" };
    let other_family: std::net::IpAddr = other_family.parse().expect("address");
    let named = |name: &str, host_ip, sent: Send| {
        case(family, name)
            .change(move |prog| publish(prog, host_ip, 5061, 5060))
            .then(sent)
            .change(move |prog| withdraw(prog, host_ip, 5061, 5060))
    };
    vec![
        case(
            family,
            "a sandbox leaves from the port that it has published",
        )
        .change(|prog| publish(prog, None, 5061, 5060))
        .then(leaves_from(family, &out(1), 5061))
        .then(
            arrives(&back)
                .is(Reason::Inbound)
                .sends(&delivered(
                    back.clone().destination(family.sandbox(1)).dport(5060),
                    1,
                ))
                .number_of_flows(1),
        )
        .change(|prog| withdraw(prog, None, 5061, 5060)),
        named(
            "a port published on the source address is used",
            Some(host),
            leaves_from(family, &out(1), 5061),
        ),
        named(
            "a port published on every address of the family is used",
            Some(any_of_other),
            leaves_from(family, &out(1), 5061),
        ),
        named(
            "a port published on another address is not used",
            Some(family.host2()),
            leaves_from(family, &out(1), 5060),
        ),
        named(
            "a port published for the other family is not used",
            Some(other_family),
            leaves_from(family, &out(1), 5060),
        ),
        named(
            "another sandbox does not use the port",
            None,
            leaves_from(family, &out(2), 5060),
        ),
        named(
            "another sandbox does not leave from the published port",
            None,
            leaves_elsewhere(family, &leaving(family, 2, client).udp(5061, 5060), 5061),
        ),
        case(
            family,
            "a SYN from the peer of an own port continues the flow",
        )
        .change(|prog| {
            let key = OwnPortKey {
                endpoint: 1,
                ports: port(Protocol::Tcp, None, (80, 80), (8080, 1), 0).0,
            };
            let generation = port(Protocol::Tcp, None, (80, 80), (8080, 1), 0)
                .1
                .generation;
            let entry = OwnPortEntry {
                host_port: 8080,
                generation,
            };
            prog.tables().put(&[(key, entry)]).expect("own port");
        })
        .then(leaves_from(
            family,
            &leaving(family, 1, client).tcp(80, 7000, SYN),
            8080,
        ))
        .then({
            let syn = inbound(family, host).tcp(7000, 8080, SYN);
            arrives(&syn)
                .is(Reason::Inbound)
                .sends(&delivered(
                    syn.clone().destination(family.sandbox(1)).dport(80),
                    1,
                ))
                .number_of_flows(1)
        })
        .change(|prog| {
            let key = OwnPortKey {
                endpoint: 1,
                ports: port(Protocol::Tcp, None, (80, 80), (8080, 1), 0).0,
            };
            prog.tables()
                .remove::<OwnPortEntry>(&[key])
                .expect("own port");
        }),
    ]
}

fn exchanges(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let request = |sport| of_node(family).udp(7001, sport);
    let reply = |sport| inbound(family, host).udp(sport, 7001);
    let to_sandbox = |packet: &Packet| {
        let inside = packet.clone().destination(family.sandbox(1));
        arrives(packet)
            .is(Reason::Inbound)
            .sends(&delivered(inside, 1))
            .number_of_flows(1)
    };
    let inside = family.sandbox(2);
    let to_inside = Packet::ip(family.gateway(1), inside)
        .eth(gateway_mac(2), sandbox_mac(2))
        .udp(7001, 9_300);
    let from_inside = Packet::ip(inside, family.gateway(1))
        .eth(sandbox_mac(2), gateway_mac(2))
        .udp(9_300, 7001);
    vec![
        case(
            family,
            "the reply to a datagram that the node sends from a published port is the node's",
        )
        .then(at_eth0(&request(9_000)))
        .then(arrives(&reply(9_000)))
        .then(to_sandbox(&reply(9_001))),
        case(
            family,
            "the node's datagram from a published port removes the flow with the same tuple",
        )
        .then(to_sandbox(&reply(9_100)))
        .then(at_eth0(&request(9_100)).number_of_flows(0))
        .then(arrives(&reply(9_100))),
        case(
            family,
            "an own port with an exchange of the node is not used",
        )
        .change(|prog| publish(prog, None, 7005, 7005))
        .then(at_eth0(&of_node(family).udp(7005, 9_200)))
        .then(leaves_elsewhere(
            family,
            &leaving(family, 1, client).udp(7005, 9_200),
            7005,
        ))
        .then(arrives(&inbound(family, host).udp(9_200, 7005)))
        .change(|prog| withdraw(prog, None, 7005, 7005)),
        case(
            family,
            "the reply of a sandbox to the node is the node's although the port is published",
        )
        .then(send(ENDPOINT_OUT, "ve2", &to_inside).is(Reason::FromHost))
        .then(send(ENDPOINT_IN, "ve2", &from_inside).is(Reason::ToHost)),
    ]
}

fn other_nats(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let foreign = |packet: &Packet| at_eth0(packet).from("lan0").is(Reason::ForeignNat);
    let udp = |sport, dport| of_node(family).udp(sport, dport);
    let tcp = |sport, flags| of_node(family).tcp(sport, 443, flags);
    let out = |sport, flags| leaving(family, 1, client).tcp(sport, 443, flags);
    let back = |dport, flags| inbound(family, host).tcp(443, dport, flags);
    let echo = of_node(family).echo_request(4_242);
    vec![
        case(family, "a sandbox avoids a UDP tuple of another NAT")
            .then(foreign(&udp(50_000, 53)))
            .then(leaves_elsewhere(
                family,
                &leaving(family, 1, client).udp(50_000, 53),
                50_000,
            ))
            .then(arrives(&inbound(family, host).udp(53, 50_000))),
        case(family, "a sandbox avoids a TCP tuple of another NAT")
            .then(foreign(&tcp(50_010, SYN)))
            .then(leaves_elsewhere(family, &out(50_010, SYN), 50_010))
            .then(arrives(&back(50_010, SYN | ACK))),
        case(
            family,
            "a sandbox may use the tuple of another NAT towards another destination",
        )
        .then(foreign(&udp(50_020, 53)))
        .then(leaves_from(
            family,
            &leaving(family, 1, client).udp(50_020, 54),
            50_020,
        )),
        case(family, "a sandbox avoids an echo identifier of another NAT")
            .then(foreign(&echo))
            .then(leaves_elsewhere(
                family,
                &leaving(family, 1, client).echo_request(4_242),
                4_242,
            ))
            .then(arrives(&inbound(family, host).echo_reply(4_242))),
        case(
            family,
            "a datagram of another NAT removes the flow with the same tuple",
        )
        .then(leaves_from(
            family,
            &leaving(family, 1, client).udp(50_030, 53),
            50_030,
        ))
        .then(foreign(&udp(50_030, 53)).number_of_flows(0))
        .then(arrives(&inbound(family, host).udp(53, 50_030))),
        case(
            family,
            "a SYN of the node removes a half-open connection with the same tuple",
        )
        .then(leaves_from(family, &out(50_040, SYN), 50_040))
        .then(at_eth0(&tcp(50_040, SYN)).number_of_flows(0)),
        renumbered(family),
        case(
            family,
            "data of another NAT to a published port is passed to the stack",
        )
        .then(foreign(&tcp(8080, SYN)))
        .then(foreign(&tcp(8080, ACK)))
        .then(arrives(&back(8080, ACK)))
        .then(foreign(&tcp(8080, FIN | ACK))),
        case(
            family,
            "a packet that was translated at a device above is not recorded",
        )
        .then(leaves_from(
            family,
            &leaving(family, 1, client).udp(50_060, 53),
            50_060,
        ))
        .then(at_eth0(&udp(50_060, 53)).from("ve1"))
        .then(at_eth0(&udp(50_060, 53)).from("br1")),
        case(
            family,
            "with a full map new flows avoid the port of another NAT",
        )
        .change(|prog| prog.fill_outer_tuples())
        .then(
            at_eth0(&udp(50_070, 53))
                .from("lan0")
                .is(Reason::OuterTuplesFull),
        )
        .then(leaves_elsewhere(
            family,
            &leaving(family, 1, family.unlisted_client()).udp(50_070, 54),
            50_070,
        )),
    ]
}

/// A connection of the node with the outer tuple of an established connection of a sandbox.
fn renumbered(family: Family) -> Case {
    let (client, host) = (family.client(), family.host());
    let tcp = move |sport, flags| of_node(family).tcp(sport, 443, flags);
    let back = move |dport, flags| inbound(family, host).tcp(443, dport, flags);
    let out = |flags| leaving(family, 1, client).tcp(50_050, 443, flags);
    let reply = back(50_050, SYN | ACK);
    case(
        family,
        "a connection of the node with the tuple of an established one gets another port",
    )
    .then(leaves_from(family, &out(SYN), 50_050))
    .then(
        arrives(&reply)
            .is(Reason::Inbound)
            .sends(&delivered(reply.clone().destination(family.sandbox(1)), 1))
            .number_of_flows(1),
    )
    .then(leaves_from(family, &out(ACK), 50_050))
    .then(
        at_eth0(&tcp(50_050, SYN))
            .is(Reason::Translated)
            .sends_with_port(move |port| {
                assert_ne!(port, 50_050);
                tcp(port, SYN)
            })
            .number_of_flows(2),
    )
    .change(move |prog| {
        let flows = prog.flows();
        let flow = flows.iter().find(|flow| flow.entry.endpoint == 0);
        let port = flow.expect("a flow of the node").outer_port();
        let eth0 = PacketContext::at("eth0");
        let reply = prog.run(UPLINK_INGRESS, &eth0, &back(port, SYN | ACK).build());
        assert_eq!(reply.packet, back(50_050, SYN | ACK).build());
        let again = prog.run(UPLINK_EGRESS, &eth0, &tcp(50_050, SYN).build());
        assert_eq!(again.packet, tcp(port, SYN).build());
        let data = prog.run(UPLINK_EGRESS, &eth0, &tcp(50_050, ACK).build());
        assert_eq!(data.packet, tcp(port, ACK).build());
        assert_eq!(prog.flows().len(), 2);
    })
    .then(leaves_from(family, &out(ACK), 50_050).number_of_flows(2))
}
