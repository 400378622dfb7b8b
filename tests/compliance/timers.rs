//! Idle limits of flows, configured in seconds; the defaults are read from the daemon.

use std::{
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    fixture::Fixture,
    packet::{ACK, FIN, Packet, SYN},
};

use crate::{
    flow::{Ends, Flow, FlowProtocol},
    gate::{Offloads, run_in_parallel},
    segments::published,
};

/// A timer of the daemon, in seconds.
#[track_caller]
fn seconds(fixture: &Fixture, name: &str) -> f64 {
    let status = fixture.daemon.json(&["status"]);
    let found = status["timers"][name].as_f64();
    found.unwrap_or_else(|| panic!("no timer {name} in {status:#}"))
}

fn wait(seconds: f64) {
    thread::sleep(Duration::from_secs_f64(seconds));
}

fn same(packet: Packet) -> Packet {
    packet
}

/// U-5, U-6: a replied UDP flow lasts at least two minutes, and packets in either direction refresh it; a flow without
/// a reply expires sooner.
pub fn udp(offloads: Offloads) {
    run_in_parallel(offloads, &[udp_flows, udp_defaults]);
}

fn udp_flows(offloads: Offloads) {
    const NEW: f64 = 2.0;
    const ESTABLISHED: f64 = 4.0;
    let config = format!("[timers]\nudp_new = {NEW}\nudp_established = {ESTABLISHED}\n");
    let fixture = offloads.configured(&config);
    let (_sandbox, ends) = published(&fixture);
    let flows = |port: u16| {
        let out = [0, 1].map(|family| ends.outbound(family, FlowProtocol::Udp, port));
        let inward = [0, 1].map(|family| ends.inbound(family, FlowProtocol::Udp, port));
        (out, inward)
    };
    let (lonely, _) = flows(5001);
    let (pushed, _) = flows(5002);
    let (out, inward) = flows(5000);
    for flow in &lonely {
        flow.leaves("a packet without a reply", same);
    }
    for flow in out.iter().chain(&pushed) {
        flow.opens_inside();
    }
    for flow in &inward {
        flow.opens_outside();
    }
    // Longer than the limit in total, but never idle for the limit: refreshed by outbound or by inbound packets.
    for _ in 0..4 {
        wait(ESTABLISHED / 3.0);
        for flow in &out {
            flow.leaves("a packet that refreshes the flow", same);
        }
        for flow in &pushed {
            flow.arrives("a packet from outside that refreshes the flow", same);
        }
        for flow in &inward {
            flow.arrives("a request that refreshes the flow", same);
        }
    }
    for flow in &out {
        flow.arrives("a reply after this time", same);
    }
    fixture.wait_for("the flows without a reply expire", || {
        fixture.flows(&[]).iter().all(|flow| flow["state"] != "new")
    });
    for flow in &lonely {
        flow.does_not_arrive("a reply after the flow has expired");
    }
    fixture.wait_for("all flows have expired", || fixture.flows(&[]).is_empty());
    for flow in out.iter().chain(&pushed) {
        flow.does_not_arrive("a packet of an expired flow");
    }
    fixture.assert_clean(&[]);
}

fn udp_defaults(offloads: Offloads) {
    let fixture = offloads.fixture();
    assert!(
        seconds(&fixture, "udp_established") >= 120.0,
        "RFC 4787 REQ-5"
    );
    assert!(seconds(&fixture, "udp_new") >= 30.0);
}

/// Whether the client sends a segment, and its flags.
type Step = (bool, u8);

/// T-5: an idle connection lasts longer than two hours and four minutes; one that is opening or closing expires sooner.
pub fn tcp(offloads: Offloads) {
    run_in_parallel(offloads, &[connections, tcp_defaults]);
}

/// Segments that bring a connection into a state.
const STATES: [(&str, u16, &[Step]); 5] = [
    (
        "established",
        5000,
        &[(true, SYN), (false, SYN | ACK), (true, ACK)],
    ),
    ("new", 5001, &[(true, SYN)]),
    ("syn-received", 5002, &[(true, SYN), (false, SYN | ACK)]),
    (
        "half-closed",
        5003,
        &[
            (true, SYN),
            (false, SYN | ACK),
            (true, ACK),
            (true, FIN | ACK),
        ],
    ),
    (
        "closing",
        5004,
        &[
            (true, SYN),
            (false, SYN | ACK),
            (true, ACK),
            (true, FIN | ACK),
            (false, FIN | ACK),
            (true, ACK),
        ],
    ),
];

/// Turns a packet into a segment without data.
fn segment(flags: u8) -> impl Fn(Packet) -> Packet {
    move |packet| packet.flags(flags).payload(b"")
}

/// Opens an outbound and an inbound connection and brings both into a state.
fn open<'a>(
    ends: &'a Ends,
    family: usize,
    (state, port, steps): (&str, u16, &[Step]),
) -> [Flow<'a>; 2] {
    let out = ends.outbound(family, FlowProtocol::Tcp, port);
    let inward = ends.inbound(family, FlowProtocol::Tcp, port);
    for (client, flags) in steps {
        if *client {
            out.leaves(state, segment(*flags));
            inward.arrives(state, segment(*flags));
        } else {
            out.arrives(state, segment(*flags));
            inward.leaves(state, segment(*flags));
        }
    }
    [out, inward]
}

/// Sends keepalive segments, which stacks send after two hours, and their replies.
fn keep_alive(flows: &[Flow<'_>]) {
    for flow in flows {
        flow.arrives("a keepalive", segment(ACK));
        flow.leaves("its reply", segment(ACK));
    }
}

fn connections(offloads: Offloads) {
    const ESTABLISHED: f64 = 6.0;
    const OTHERS: f64 = 3.0;
    let config = format!(
        "[timers]\ntcp_established = {ESTABLISHED}\ntcp_syn_sent = {OTHERS}\n\
         tcp_syn_received = {OTHERS}\ntcp_half_closed = {OTHERS}\ntcp_closing = {OTHERS}\n"
    );
    let fixture = offloads.configured(&config);
    let (_sandbox, ends) = published(&fixture);
    let mut established: Vec<Flow<'_>> = Vec::new();
    for family in [0, 1] {
        for state in STATES {
            let flows = open(&ends, family, state);
            if state.0 == "established" {
                established.extend(flows);
            }
            // On a slow machine all connections together take longer to open than an idle one lasts.
            keep_alive(&established);
        }
    }
    let states = || -> Vec<String> {
        let flows = fixture.flows(&["--protocol", "tcp"]);
        let states = flows.iter().filter_map(|flow| flow["state"].as_str());
        let mut states: Vec<_> = states.map(str::to_owned).collect();
        states.sort();
        states
    };
    let refreshed = Instant::now();
    while refreshed.elapsed().as_secs_f64() < ESTABLISHED * 1.25 {
        wait(ESTABLISHED / 4.0);
        keep_alive(&established);
    }
    assert_eq!(states(), ["established"; 4]);
    fixture.wait_for("all flows have expired", || states().is_empty());
    fixture.assert_clean(&[]);
}

fn tcp_defaults(offloads: Offloads) {
    let fixture = offloads.fixture();
    let established = seconds(&fixture, "tcp_established");
    assert!(established >= 7440.0, "RFC 5382 REQ-5");
    for name in [
        "tcp_syn_sent",
        "tcp_syn_received",
        "tcp_half_closed",
        "tcp_closing",
        "tcp_reset",
    ] {
        assert!(seconds(&fixture, name) >= 10.0, "{name}");
    }
}
