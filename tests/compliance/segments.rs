//! Sequences of TCP segments.

use netpath_tests::{
    fixture::{Fixture, NETWORK_A, Sandbox},
    packet::{ACK, FIN, Packet, RST, SYN},
};

use crate::{
    flow::{Ends, Flow, FlowProtocol},
    gate::Offloads,
};

const PSH: u8 = 0x08;
const URG: u8 = 0x20;

/// A network, a sandbox that publishes a port, and the ends of its flows.
pub fn published(fixture: &Fixture) -> (Sandbox, Ends) {
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let ends = Ends::new(fixture, &sandbox);
    (sandbox, ends)
}

/// A flow, and which end opens it.
struct Connection<'a> {
    flow: Flow<'a>,
    from_inside: bool,
}

const CLIENT: bool = true;
const SERVER: bool = false;

impl Connection<'_> {
    #[track_caller]
    fn step(&self, what: &str, client: bool, change: impl Fn(Packet) -> Packet) {
        if client == self.from_inside {
            self.flow.leaves(what, change);
        } else {
            self.flow.arrives(what, change);
        }
    }

    #[track_caller]
    fn flags(&self, what: &str, client: bool, flags: u8) {
        self.step(what, client, |packet| packet.flags(flags).payload(b""));
    }

    #[track_caller]
    fn handshake(&self) {
        self.flags("SYN", CLIENT, SYN);
        self.flags("SYN-ACK", SERVER, SYN | ACK);
        self.flags("ACK", CLIENT, ACK);
    }
}

/// Runs a sequence on connections opened from inside and from outside, in both families, each from a port of its
/// own.
fn on_each_connection(ends: &Ends, connection: impl Fn(&Connection<'_>), port: u16) {
    for family in [0, 1] {
        connection(&Connection {
            flow: ends.outbound(family, FlowProtocol::Tcp, port),
            from_inside: true,
        });
        connection(&Connection {
            flow: ends.inbound(family, FlowProtocol::Tcp, port),
            from_inside: false,
        });
    }
}

/// T-2: every valid sequence of segments passes, opened from inside or outside.
pub fn sequences(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (_sandbox, ends) = published(&fixture);
    on_each_connection(&ends, retransmitted, 5000);
    on_each_connection(&ends, data_on_syn, 5001);
    on_each_connection(&ends, half_closed, 5002);
    on_each_connection(&ends, simultaneous_close, 5003);
    on_each_connection(&ends, challenge_ack, 5004);
    on_each_connection(&ends, unusual_segments, 5005);
    for state in 0..4 {
        for client in [CLIENT, SERVER] {
            let port = 5010 + 2 * state + u16::from(client);
            on_each_connection(&ends, |connection| reset(connection, state, client), port);
        }
    }
    on_each_connection(&ends, simultaneous_open, 5030);
    assert_eq!(fixture.counted("drop_no_flow"), 0);
    fixture.assert_clean(&[]);
}

fn retransmitted(connection: &Connection<'_>) {
    connection.flags("SYN", CLIENT, SYN);
    connection.flags("SYN again", CLIENT, SYN);
    connection.flags("SYN-ACK", SERVER, SYN | ACK);
    connection.flags("SYN-ACK again", SERVER, SYN | ACK);
    connection.flags("ACK", CLIENT, ACK);
    connection.flags("SYN-ACK once more", SERVER, SYN | ACK);
    connection.flags("SYN of an old connection", CLIENT, SYN);
    connection.step("data", CLIENT, |packet| packet.flags(ACK | PSH));
}

/// TCP Fast Open (RFC 7413).
fn data_on_syn(connection: &Connection<'_>) {
    let fast_open = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    connection.step("data on SYN", CLIENT, |packet| {
        packet.flags(SYN).tcp_options(&fast_open)
    });
    connection.step("data on SYN-ACK", SERVER, |packet| {
        packet.flags(SYN | ACK).tcp_options(&fast_open)
    });
    connection.step("data before ACK", SERVER, |packet| packet.flags(ACK | PSH));
    connection.flags("ACK", CLIENT, ACK);
}

fn half_closed(connection: &Connection<'_>) {
    for (first, second) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        connection.handshake();
        connection.flags("FIN", first, FIN | ACK);
        connection.flags("FIN again", first, FIN | ACK);
        connection.flags("ACK of FIN", second, ACK);
        connection.step("data after FIN", second, |packet| packet.flags(ACK | PSH));
        connection.flags("ACK of data", first, ACK);
        connection.flags("second FIN", second, FIN | ACK);
        connection.flags("repeated second FIN", second, FIN | ACK);
        connection.flags("last ACK", first, ACK);
        connection.flags("repeated last ACK", first, ACK);
    }
}

fn simultaneous_close(connection: &Connection<'_>) {
    connection.handshake();
    connection.flags("FIN", CLIENT, FIN | ACK);
    connection.flags("FIN of the other side", SERVER, FIN | ACK);
    connection.flags("ACK", SERVER, ACK);
    connection.flags("ACK of the other side", CLIENT, ACK);
    // Reused ports (RFC 9293 §3.6.1).
    connection.handshake();
}

/// A SYN for a connection that the server still has gets an ACK as reply (RFC 5961 §4).
fn challenge_ack(connection: &Connection<'_>) {
    connection.flags("SYN", CLIENT, SYN);
    connection.flags("challenge", SERVER, ACK);
    connection.flags("RST", CLIENT, RST);
    connection.flags("SYN again", CLIENT, SYN);
    connection.flags("SYN-ACK", SERVER, SYN | ACK);
    connection.flags("ACK", CLIENT, ACK);
}

fn unusual_segments(connection: &Connection<'_>) {
    connection.handshake();
    for side in [CLIENT, SERVER] {
        connection.step("keepalive", side, |packet| {
            packet.flags(ACK).numbers(0x0102_0303, 0).payload(b"")
        });
        connection.step("keepalive with one byte", side, |packet| {
            packet.flags(ACK).numbers(0x0102_0303, 0).payload(b"x")
        });
        connection.step("far outside the window", side, |packet| {
            packet.flags(ACK).numbers(0xfff0_0000, 0)
        });
        connection.step("urgent", side, |packet| packet.flags(ACK | URG));
        connection.step("congestion", side, |packet| packet.flags(ACK | 0xc0));
        connection.step("selective ACK", side, |packet| {
            let blocks = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9];
            packet.flags(ACK).tcp_options(&blocks)
        });
        connection.step("full size", side, |packet| {
            packet.flags(ACK).payload(&[7; 1400])
        });
    }
}

fn reset(connection: &Connection<'_>, state: u16, side: bool) {
    connection.flags("SYN", CLIENT, SYN);
    if state > 0 {
        connection.flags("SYN-ACK", SERVER, SYN | ACK);
    }
    if state > 1 {
        connection.flags("ACK", CLIENT, ACK);
    }
    if state > 2 {
        connection.flags("FIN", CLIENT, FIN | ACK);
    }
    connection.flags("RST", side, RST | ACK);
    connection.flags("RST again", side, RST);
}

/// Simultaneous open (RFC 9293 §3.5): the SYN of the other side matches the flow.
fn simultaneous_open(connection: &Connection<'_>) {
    if !connection.from_inside {
        // A connection opened from a published port gets another port, because the port is reserved.
        return;
    }
    connection.flags("SYN", CLIENT, SYN);
    connection.flags("SYN of the other side", SERVER, SYN);
    connection.flags("SYN-ACK", CLIENT, SYN | ACK);
    connection.flags("SYN-ACK of the other side", SERVER, SYN | ACK);
    connection.step("data", CLIENT, |packet| packet.flags(ACK | PSH));
    connection.step("data back", SERVER, |packet| packet.flags(ACK | PSH));
}

/// P-3: an RST passes and does not remove the flow at once; later segments pass, and the flow expires.
pub fn resets(offloads: Offloads) {
    let fixture = offloads.configured("[timers]\ntcp_reset = 2\n");
    let (_sandbox, ends) = published(&fixture);
    on_each_connection(
        &ends,
        |connection| {
            for side in [CLIENT, SERVER] {
                connection.handshake();
                connection.step("data", CLIENT, |packet| packet.flags(ACK | PSH));
                // A forged RST with invalid sequence numbers.
                connection.step("RST", side, |packet| {
                    packet.flags(RST).numbers(0xdead_beef, 0).payload(b"")
                });
                connection.step("data after RST", !side, |packet| packet.flags(ACK | PSH));
                connection.step("data from the sender of the RST", side, |packet| {
                    packet.flags(ACK | PSH)
                });
            }
        },
        5000,
    );
    let states = || -> Vec<String> {
        let flows = fixture.flows(&["--protocol", "tcp"]);
        let states = flows.iter().filter_map(|flow| flow["state"].as_str());
        states.map(str::to_owned).collect()
    };
    assert_eq!(states(), ["established"; 4], "a forged RST removes no flow");
    on_each_connection(
        &ends,
        |connection| connection.flags("RST", SERVER, RST | ACK),
        5000,
    );
    fixture.wait_for("the flows expire", || states().is_empty());
    fixture.assert_clean(&[]);
}
