//! Creation, states and removal of flows.

use netpath::{
    model::Protocol,
    plan::tables::{EndpointEntry, PortEntry, Table as _},
    reconcile::Datapath as _,
};
use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, FIN, Packet, RST, SYN},
    prog::{Family, Prog, UPLINK_EGRESS, UPLINK_INGRESS, endpoint, port},
};

use crate::case::{Case, Send, send};
use crate::{both, case, delivered, inbound, leaving, published_packet, tuple};

pub fn cases() -> Vec<Case> {
    let mut cases = both(tcp);
    cases.extend(both(reset));
    cases.extend(both(generations));
    cases.extend(both(shadows));
    cases
}

/// A connection from a sandbox, one segment at a time.
#[derive(Clone, Copy)]
struct Connection(Family);

impl Connection {
    fn flow(self, state: &str) -> String {
        let (inside, host, client) = (self.0.sandbox(1), self.0.host(), self.0.client());
        let from = tuple(inside, 61_500, client, 80);
        format!(
            "snat tcp {from} as {} {state}",
            tuple(host, 61_500, client, 80)
        )
    }

    /// The sandbox sends a segment; the flow is then in this state.
    fn out(self, flags: u8, state: &str) -> Send {
        let packet = leaving(self.0, 1, self.0.client()).tcp(61_500, 80, flags);
        send(UPLINK_EGRESS, "eth0", &packet)
            .is(Reason::Translated)
            .sends(&packet.clone().source(self.0.host()))
            .flows([self.flow(state)])
    }

    /// The outside sends a segment; the flow is then in this state.
    fn back(self, flags: u8, state: &str) -> Send {
        let packet = inbound(self.0, self.0.host()).tcp(80, 61_500, flags);
        send(UPLINK_INGRESS, "eth0", &packet)
            .is(Reason::Inbound)
            .sends(&delivered(packet.clone().destination(self.0.sandbox(1)), 1))
            .flows([self.flow(state)])
    }

    fn established(self, name: &str) -> Case {
        case(self.0, name)
            .then(self.out(SYN, "new"))
            .then(self.back(SYN | ACK, "syn-received"))
            .then(self.out(ACK, "established"))
    }

    fn closing(self, name: &str) -> Case {
        self.established(name)
            .then(self.out(FIN | ACK, "half-closed"))
            .then(self.back(FIN | ACK, "closing"))
    }
}

fn tcp(family: Family) -> Vec<Case> {
    let connection = Connection(family);
    vec![
        connection
            .closing("a connection passes all states from SYN to close")
            .then(connection.out(ACK, "closing")),
        case(family, "a repeated SYN keeps flow and port")
            .then(connection.out(SYN, "new"))
            .then(connection.out(SYN, "new")),
        case(family, "a repeated SYN after the reply keeps the flow")
            .then(connection.out(SYN, "new"))
            .then(connection.back(SYN | ACK, "syn-received"))
            .then(connection.out(SYN, "syn-received")),
        connection
            .established("a SYN does not end an established connection")
            .then(connection.out(SYN, "established")),
        connection
            .closing("a SYN on a closing connection opens a new connection")
            .then(connection.out(SYN, "new")),
        connection
            .established("data passes in both directions after one FIN")
            .then(connection.back(FIN | ACK, "half-closed"))
            .then(connection.out(ACK, "half-closed"))
            .then(connection.back(ACK, "half-closed")),
        connection
            .closing("data passes after both FINs")
            .then(connection.back(ACK, "closing"))
            .then(connection.out(FIN | ACK, "closing")),
    ]
}

fn reset(family: Family) -> Vec<Case> {
    let connection = Connection(family);
    vec![
        connection
            .established("data after a forged RST restores the state of the connection")
            .then(connection.back(RST, "reset"))
            .then(connection.out(ACK, "reset"))
            .then(connection.back(ACK, "established")),
        connection
            .established("a SYN after an RST opens a new connection")
            .then(connection.out(RST, "reset"))
            .then(connection.out(SYN, "new")),
        connection
            .established("an RST is delivered")
            .then(connection.back(RST | ACK, "reset"))
            .then(connection.back(RST | ACK, "reset")),
        case(family, "a refused connection may be tried again")
            .then(connection.out(SYN, "new"))
            .then(connection.back(RST | ACK, "refused"))
            .then(connection.out(SYN, "new")),
    ]
}

/// Replaces the sandbox of the slot, which gets a new generation.
fn replace(prog: &mut Prog) {
    let mut entry = endpoint(1);
    entry.generation += 1;
    prog.tables().put(&[(1, entry)]).expect("endpoint");
}

fn generations(family: Family) -> Vec<Case> {
    let connection = Connection(family);
    let (client, host) = (family.client(), family.host());
    let datagram = leaving(family, 1, client).udp(61_500, 53);
    let reply = inbound(family, host).udp(53, 61_500);
    let sent = || {
        send(UPLINK_EGRESS, "eth0", &datagram)
            .is(Reason::Translated)
            .sends(&datagram.clone().source(host))
            .number_of_flows(1)
    };
    let query = inbound(family, host).udp(40_000, 5353);
    let lost = |packet: &Packet| {
        send(UPLINK_INGRESS, "eth0", packet)
            .is(Reason::NotOurs)
            .number_of_flows(0)
    };
    let remove_endpoint = |prog: &mut Prog| {
        prog.tables()
            .remove::<EndpointEntry>(&[1])
            .expect("endpoint")
    };
    let segment = inbound(family, host).tcp(80, 61_500, ACK);
    vec![
        case(
            family,
            "a reply to a replaced sandbox is not delivered to the new one",
        )
        .then(sent())
        .change(replace)
        .then(lost(&reply)),
        case(family, "a reply to a removed sandbox is not delivered")
            .then(sent())
            .change(remove_endpoint)
            .then(lost(&reply)),
        connection
            .established("an established connection of a replaced sandbox expires at once")
            .change(replace)
            .then(lost(&segment)),
        connection
            .established("a new sandbox in the slot continues no connection")
            .change(replace)
            .then(
                send(
                    UPLINK_EGRESS,
                    "eth0",
                    &leaving(family, 1, client).tcp(61_500, 80, ACK),
                )
                .is(Reason::NoFlow)
                .number_of_flows(0),
            ),
        case(
            family,
            "a datagram to a port of a replaced sandbox is not delivered",
        )
        .then(published_packet(family, &query, 53))
        .change(replace)
        .then(lost(&query)),
        case(family, "the port of an expired flow is free")
            .then(sent())
            .change(remove_endpoint)
            .then({
                let packet = leaving(family, 2, client).udp(61_500, 53);
                send(UPLINK_EGRESS, "eth0", &packet)
                    .is(Reason::Translated)
                    .sends(&packet.clone().source(host))
                    .number_of_flows(1)
            }),
    ]
}

fn shadows(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let publish = |prog: &mut Prog| {
        let port = port(Protocol::Tcp, None, (61_500, 61_500), (80, 2), 0);
        prog.tables().put(&[port]).expect("port");
    };
    let withdraw = |prog: &mut Prog| {
        let (key, _) = port(Protocol::Tcp, None, (61_500, 61_500), (80, 2), 0);
        prog.tables().remove::<PortEntry>(&[key]).expect("port");
    };
    let request = inbound(family, host).tcp(80, 61_500, SYN);
    let inside = family.sandbox(2);
    let publish_udp = |host_ip| {
        move |prog: &mut Prog| {
            let port = port(Protocol::Udp, host_ip, (61_500, 61_501), (53, 2), 0);
            let operation = PortEntry::put(vec![port]);
            prog.datapath.execute(&operation).expect("port");
        }
    };
    let withdraw_udp = |host_ip| {
        move |prog: &mut Prog| {
            let (key, _) = port(Protocol::Udp, host_ip, (61_500, 61_501), (53, 2), 0);
            prog.tables().remove::<PortEntry>(&[key]).expect("port");
        }
    };
    let datagram = |sport| {
        let packet = leaving(family, 1, client).udp(sport, 53);
        send(UPLINK_EGRESS, "eth0", &packet)
            .is(Reason::Translated)
            .sends(&packet.clone().source(host))
    };
    let reply = |sport| inbound(family, host).udp(53, sport);
    let goes_on = |sport| {
        let inside = reply(sport).destination(family.sandbox(1));
        send(UPLINK_INGRESS, "eth0", &reply(sport))
            .is(Reason::Inbound)
            .sends(&delivered(inside, 1))
    };
    vec![
        Connection(family)
            .established("a port that is published later is reached despite an older flow")
            .change(publish)
            .then(
                send(UPLINK_INGRESS, "eth0", &request)
                    .is(Reason::Inbound)
                    .sends(&delivered(request.clone().destination(inside).dport(80), 2))
                    .flows([format!(
                        "dnat tcp {} as {} new",
                        tuple(client, 80, host, 61_500),
                        tuple(client, 80, inside, 80)
                    )]),
            )
            .change(withdraw),
        case(
            family,
            "a UDP port that is published later is reached despite an older flow, also by its peer",
        )
        .then(datagram(61_500).number_of_flows(1))
        .then(datagram(61_502).number_of_flows(2))
        .change(publish_udp(None))
        .then(
            send(UPLINK_INGRESS, "eth0", &reply(61_500))
                .is(Reason::Inbound)
                .sends(&delivered(reply(61_500).destination(inside).dport(53), 2))
                .number_of_flows(2),
        )
        .then(goes_on(61_502))
        .change(withdraw_udp(None)),
        case(
            family,
            "a port that is published for another address removes no flow",
        )
        .then(datagram(61_500).number_of_flows(1))
        .change(publish_udp(Some(family.host2())))
        .then(goes_on(61_500))
        .change(withdraw_udp(Some(family.host2()))),
        Connection(family)
            .established("a TCP flow continues when its port is published for UDP")
            .change(publish_udp(None))
            .then(Connection(family).back(ACK, "established"))
            .change(withdraw_udp(None)),
        Connection(family)
            .established("a flow continues when its port is published later")
            .change(publish)
            .then(Connection(family).back(ACK, "established"))
            .change(withdraw),
    ]
}
