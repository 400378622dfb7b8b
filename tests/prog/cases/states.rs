//! Valid sequences of TCP segments (RFC 9293 §3.5, §3.6, RFC 5961), for flows in both directions.

use std::net::IpAddr;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, FIN, Packet, RST, SYN},
    prog::{ENDPOINT_IN, Family, PacketContext, UPLINK_EGRESS, UPLINK_INGRESS},
};

use crate::case::{Case, Send, send};
use crate::{both, case, delivered, from_sandbox, inbound, leaving, tuple};

pub fn cases() -> Vec<Case> {
    let connections = Family::BOTH
        .into_iter()
        .flat_map(|family| [Connection::Outbound(family), Connection::Published(family)]);
    let mut cases: Vec<_> = connections.flat_map(sequences).collect();
    cases.extend(both(resumed));
    cases
}

/// A connection, one segment at a time.
#[derive(Clone, Copy, Debug)]
enum Connection {
    /// From a sandbox to the outside.
    Outbound(Family),
    /// From outside to a published port.
    Published(Family),
}

impl Connection {
    fn family(self) -> Family {
        match self {
            Self::Outbound(family) | Self::Published(family) => family,
        }
    }

    /// The tuple that the outside uses, from the sandbox's side: address and port of the host, port of the client.
    fn outer(self) -> (IpAddr, u16, u16) {
        match self {
            Self::Outbound(family) => (family.host(), 61_500, 80),
            Self::Published(family) => (family.host(), 8080, 40_000),
        }
    }

    fn flow(self, state: &str) -> String {
        let family = self.family();
        let (inside, host, client) = (family.sandbox(1), family.host(), family.client());
        match self {
            Self::Outbound(_) => format!(
                "snat tcp {} as {} {state}",
                tuple(inside, 61_500, client, 80),
                tuple(host, 61_500, client, 80)
            ),
            Self::Published(_) => format!(
                "dnat tcp {} as {} {state}",
                tuple(client, 40_000, host, 8080),
                tuple(client, 40_000, inside, 80)
            ),
        }
    }

    /// The sandbox sends.
    fn inside(self, flags: u8, state: &str) -> Send {
        let family = self.family();
        let (host, outer, client) = self.outer();
        let port = match self {
            Self::Outbound(_) => outer,
            Self::Published(_) => 80,
        };
        let packet = leaving(family, 1, family.client()).tcp(port, client, flags);
        send(UPLINK_EGRESS, "eth0", &packet)
            .is(Reason::Translated)
            .sends(&packet.clone().source(host).sport(outer))
            .flows([self.flow(state)])
    }

    /// The outside sends.
    fn outside(self, flags: u8, state: &str) -> Send {
        let family = self.family();
        let (host, outer, client) = self.outer();
        let port = match self {
            Self::Outbound(_) => outer,
            Self::Published(_) => 80,
        };
        let packet = inbound(family, host).tcp(client, outer, flags);
        let inside = packet.clone().destination(family.sandbox(1)).dport(port);
        send(UPLINK_INGRESS, "eth0", &packet)
            .is(Reason::Inbound)
            .sends(&delivered(inside, 1))
            .flows([self.flow(state)])
    }

    /// The side that opened the connection sends a segment; the flow is then in this state.
    fn opener(self, flags: u8, state: &str) -> Send {
        match self {
            Self::Outbound(_) => self.inside(flags, state),
            Self::Published(_) => self.outside(flags, state),
        }
    }

    /// The other side sends a segment; the flow is then in this state.
    fn other(self, flags: u8, state: &str) -> Send {
        match self {
            Self::Outbound(_) => self.outside(flags, state),
            Self::Published(_) => self.inside(flags, state),
        }
    }

    fn case(self, name: &str) -> Case {
        let kind = match self {
            Self::Outbound(_) => "outbound",
            Self::Published(_) => "published",
        };
        case(self.family(), &format!("{kind}: {name}"))
    }

    fn established(self, name: &str) -> Case {
        self.case(name)
            .then(self.opener(SYN, "new"))
            .then(self.other(SYN | ACK, "syn-received"))
            .then(self.opener(ACK, "established"))
    }

    fn closing(self, name: &str) -> Case {
        self.established(name)
            .then(self.opener(FIN | ACK, "half-closed"))
            .then(self.other(FIN | ACK, "closing"))
    }

    /// An ICMP error about a packet that the sandbox sent.
    fn unreachable(self) -> Packet {
        let family = self.family();
        let (host, outer, client) = self.outer();
        let sent = Packet::ip(host, family.client()).tcp(outer, client, ACK);
        let (kind, code) = if family.is_v4() { (3, 3) } else { (1, 4) };
        inbound(family, host)
            .icmp(kind, code, [0; 4])
            .payload(&sent.build()[14..])
    }
}

fn sequences(connection: Connection) -> Vec<Case> {
    let (opener, other) = (
        |flags, state: &str| connection.opener(flags, state),
        |flags, state: &str| connection.other(flags, state),
    );
    let error = connection.unreachable().build();
    vec![
        connection
            .case("simultaneous open passes")
            .then(opener(SYN, "new"))
            .then(other(SYN, "syn-received"))
            .then(opener(SYN | ACK, "syn-received"))
            .then(other(SYN | ACK, "syn-received"))
            .then(other(ACK, "established"))
            .then(opener(ACK, "established")),
        connection
            .case("repeated handshake segments pass")
            .then(opener(SYN, "new"))
            .then(opener(SYN, "new"))
            .then(other(SYN | ACK, "syn-received"))
            .then(opener(SYN, "syn-received"))
            .then(other(SYN | ACK, "syn-received"))
            .then(opener(ACK, "established"))
            .then(other(SYN | ACK, "established"))
            .then(opener(ACK, "established")),
        // The other side still has the previous connection.
        connection
            .case("a SYN that gets a challenge ACK is followed by a new connection")
            .then(opener(SYN, "new"))
            .then(other(ACK, "syn-received"))
            .then(opener(RST, "refused"))
            .then(opener(SYN, "new"))
            .then(other(SYN | ACK, "syn-received"))
            .then(opener(ACK, "established")),
        connection
            .established("the opening side reopens a connection that it lost")
            .then(opener(SYN, "established"))
            .then(other(ACK, "established"))
            .then(opener(RST, "reset"))
            .then(opener(SYN, "new"))
            .then(other(SYN | ACK, "syn-received"))
            .then(opener(ACK, "established")),
        connection
            .established("simultaneous close passes")
            .then(opener(FIN | ACK, "half-closed"))
            .then(other(FIN | ACK, "closing"))
            .then(opener(ACK, "closing"))
            .then(other(ACK, "closing"))
            .then(opener(FIN | ACK, "closing")),
        connection
            .established("an RST does not remove the flow")
            .then(other(RST, "reset"))
            .then(other(ACK, "established"))
            .then(opener(RST | ACK, "reset"))
            .then(opener(ACK, "established")),
        connection
            .established("an ICMP error does not remove the flow")
            .change(move |prog| {
                prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &error);
            })
            .then(opener(ACK, "established"))
            .then(other(ACK, "established")),
        connection
            .closing("the opening side reuses the tuple")
            .then(opener(SYN, "new"))
            .then(other(SYN | ACK, "syn-received"))
            .then(opener(ACK, "established")),
    ]
    .into_iter()
    .chain(reopened_by_the_other(connection))
    .collect()
}

/// A SYN from outside to a port that a sandbox's connection uses, and that is not published.
fn reopened_by_the_other(connection: Connection) -> Vec<Case> {
    let (opener, other) = (
        |flags, state: &str| connection.opener(flags, state),
        |flags, state: &str| connection.other(flags, state),
    );
    vec![
        connection
            .established("the other side reopens a connection that it lost")
            .then(other(SYN, "established"))
            .then(opener(ACK, "established"))
            .then(other(RST, "reset"))
            .then(other(SYN, "new"))
            .then(opener(SYN | ACK, "syn-received"))
            .then(other(ACK, "established")),
        connection
            .closing("the other side reuses the tuple")
            .then(other(SYN, "new"))
            .then(opener(SYN | ACK, "syn-received"))
            .then(other(ACK, "established"))
            .then(opener(FIN | ACK, "half-closed")),
    ]
}

fn resumed(family: Family) -> Vec<Case> {
    let host = family.host();
    let published = Connection::Published(family);
    let segment = inbound(family, host).tcp(40_000, 8080, ACK);
    let nothing = |name: &str, flags| {
        case(family, name).then(
            send(UPLINK_INGRESS, "eth0", &segment.clone().flags(flags))
                .is(Reason::NotOurs)
                .number_of_flows(0),
        )
    };
    let inside = from_sandbox(family, 2, host).tcp(40_000, 8080, ACK);
    let out = leaving(family, 1, family.client()).tcp(80, 40_000, ACK);
    vec![
        published
            .case("a connection continues when the table is lost")
            .then(published.outside(ACK, "new"))
            .then(published.inside(ACK, "established"))
            .then(published.outside(FIN | ACK, "half-closed")),
        case(
            family,
            "a connection between sandboxes continues when the table is lost",
        )
        .then(
            send(ENDPOINT_IN, "ve2", &inside)
                .is(Reason::Hairpin)
                .sends(&delivered(
                    inside.clone().destination(family.sandbox(1)).dport(80),
                    1,
                ))
                .number_of_flows(1),
        ),
        case(
            family,
            "a segment of a sandbox without a flow creates no mapping",
        )
        .then(
            send(UPLINK_EGRESS, "eth0", &out)
                .is(Reason::NoFlow)
                .number_of_flows(0),
        ),
        nothing("a SYN-ACK without a flow opens nothing", SYN | ACK),
        nothing("a FIN without a flow opens nothing", FIN | ACK),
        nothing("an RST without a flow opens nothing", RST),
        nothing(
            "an RST with an ACK and without a flow opens nothing",
            RST | ACK,
        ),
    ]
}
