//! Sequences of TCP segments.

use netpath_tests::{
    fixture::{Fixture, NETWORK_A, Sandbox},
    packet::{ACK, FIN, Packet, RST, SYN},
};

use crate::{
    flow::{Carries, Ends, Flow},
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
struct Walk<'a> {
    flow: Flow<'a>,
    from_inside: bool,
}

const CLIENT: bool = true;
const SERVER: bool = false;

impl Walk<'_> {
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
fn walks(ends: &Ends, walk: impl Fn(&Walk<'_>), port: u16) {
    for family in [0, 1] {
        walk(&Walk {
            flow: ends.outbound(family, Carries::Tcp, port),
            from_inside: true,
        });
        walk(&Walk {
            flow: ends.inbound(family, Carries::Tcp, port),
            from_inside: false,
        });
    }
}

/// T-2: every valid sequence of segments passes, opened from inside or outside.
pub fn sequences(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (_sandbox, ends) = published(&fixture);
    walks(&ends, retransmitted, 5000);
    walks(&ends, data_on_syn, 5001);
    walks(&ends, half_closed, 5002);
    walks(&ends, closed_at_once, 5003);
    walks(&ends, challenged, 5004);
    walks(&ends, odd_segments, 5005);
    for state in 0..4 {
        for client in [CLIENT, SERVER] {
            let port = 5010 + 2 * state + u16::from(client);
            walks(&ends, |walk| reset(walk, state, client), port);
        }
    }
    walks(&ends, crossing, 5030);
    assert_eq!(fixture.counted("drop_no_flow"), 0);
    fixture.assert_clean(&[]);
}

fn retransmitted(walk: &Walk<'_>) {
    walk.flags("SYN", CLIENT, SYN);
    walk.flags("SYN again", CLIENT, SYN);
    walk.flags("SYN-ACK", SERVER, SYN | ACK);
    walk.flags("SYN-ACK again", SERVER, SYN | ACK);
    walk.flags("ACK", CLIENT, ACK);
    walk.flags("SYN-ACK once more", SERVER, SYN | ACK);
    walk.flags("SYN of an old connection", CLIENT, SYN);
    walk.step("data", CLIENT, |packet| packet.flags(ACK | PSH));
}

/// TCP Fast Open (RFC 7413).
fn data_on_syn(walk: &Walk<'_>) {
    let fast_open = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    walk.step("data on SYN", CLIENT, |packet| {
        packet.flags(SYN).tcp_options(&fast_open)
    });
    walk.step("data on SYN-ACK", SERVER, |packet| {
        packet.flags(SYN | ACK).tcp_options(&fast_open)
    });
    walk.step("data before ACK", SERVER, |packet| packet.flags(ACK | PSH));
    walk.flags("ACK", CLIENT, ACK);
}

fn half_closed(walk: &Walk<'_>) {
    for (first, second) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        walk.handshake();
        walk.flags("FIN", first, FIN | ACK);
        walk.flags("FIN again", first, FIN | ACK);
        walk.flags("ACK of FIN", second, ACK);
        walk.step("data after FIN", second, |packet| packet.flags(ACK | PSH));
        walk.flags("ACK of data", first, ACK);
        walk.flags("second FIN", second, FIN | ACK);
        walk.flags("repeated second FIN", second, FIN | ACK);
        walk.flags("last ACK", first, ACK);
        walk.flags("repeated last ACK", first, ACK);
    }
}

fn closed_at_once(walk: &Walk<'_>) {
    walk.handshake();
    walk.flags("FIN", CLIENT, FIN | ACK);
    walk.flags("FIN that crosses it", SERVER, FIN | ACK);
    walk.flags("ACK", SERVER, ACK);
    walk.flags("other ACK", CLIENT, ACK);
    // Reused ports (RFC 9293 §3.6.1).
    walk.handshake();
}

/// A SYN for a connection that the server still has is answered with an ACK (RFC 5961 §4).
fn challenged(walk: &Walk<'_>) {
    walk.flags("SYN", CLIENT, SYN);
    walk.flags("challenge", SERVER, ACK);
    walk.flags("RST", CLIENT, RST);
    walk.flags("SYN again", CLIENT, SYN);
    walk.flags("SYN-ACK", SERVER, SYN | ACK);
    walk.flags("ACK", CLIENT, ACK);
}

fn odd_segments(walk: &Walk<'_>) {
    walk.handshake();
    for side in [CLIENT, SERVER] {
        walk.step("keepalive", side, |packet| {
            packet.flags(ACK).numbers(0x0102_0303, 0).payload(b"")
        });
        walk.step("keepalive with one byte", side, |packet| {
            packet.flags(ACK).numbers(0x0102_0303, 0).payload(b"x")
        });
        walk.step("far outside the window", side, |packet| {
            packet.flags(ACK).numbers(0xfff0_0000, 0)
        });
        walk.step("urgent", side, |packet| packet.flags(ACK | URG));
        walk.step("congestion", side, |packet| packet.flags(ACK | 0xc0));
        walk.step("selective ACK", side, |packet| {
            let blocks = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9];
            packet.flags(ACK).tcp_options(&blocks)
        });
        walk.step("full size", side, |packet| {
            packet.flags(ACK).payload(&[7; 1400])
        });
    }
}

fn reset(walk: &Walk<'_>, state: u16, side: bool) {
    walk.flags("SYN", CLIENT, SYN);
    if state > 0 {
        walk.flags("SYN-ACK", SERVER, SYN | ACK);
    }
    if state > 1 {
        walk.flags("ACK", CLIENT, ACK);
    }
    if state > 2 {
        walk.flags("FIN", CLIENT, FIN | ACK);
    }
    walk.flags("RST", side, RST | ACK);
    walk.flags("RST again", side, RST);
}

/// Simultaneous open (RFC 9293 §3.5): the SYN of the other side matches the flow.
fn crossing(walk: &Walk<'_>) {
    if !walk.from_inside {
        // A connection opened from a published port gets another port, because the port is reserved.
        return;
    }
    walk.flags("SYN", CLIENT, SYN);
    walk.flags("SYN that crosses it", SERVER, SYN);
    walk.flags("SYN-ACK", CLIENT, SYN | ACK);
    walk.flags("other SYN-ACK", SERVER, SYN | ACK);
    walk.step("data", CLIENT, |packet| packet.flags(ACK | PSH));
    walk.step("data back", SERVER, |packet| packet.flags(ACK | PSH));
}

/// P-3: an RST passes and does not remove the flow at once; later segments pass, and the flow expires.
pub fn resets(offloads: Offloads) {
    let fixture = offloads.configured("[timers]\ntcp_reset = 2\n");
    let (_sandbox, ends) = published(&fixture);
    walks(
        &ends,
        |walk| {
            for side in [CLIENT, SERVER] {
                walk.handshake();
                walk.step("data", CLIENT, |packet| packet.flags(ACK | PSH));
                // A forged RST with wrong sequence numbers.
                walk.step("RST", side, |packet| {
                    packet.flags(RST).numbers(0xdead_beef, 0).payload(b"")
                });
                walk.step("data after RST", !side, |packet| packet.flags(ACK | PSH));
                walk.step("data of its sender", side, |packet| packet.flags(ACK | PSH));
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
    walks(&ends, |walk| walk.flags("RST", SERVER, RST | ACK), 5000);
    fixture.wait_for("the flows expire", || states().is_empty());
    fixture.assert_clean(&[]);
}
