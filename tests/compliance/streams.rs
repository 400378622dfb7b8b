//! Streams and datagrams in both directions, with every combination of checksum offloads.

use std::{net::UdpSocket, thread, time::Duration};

use netpath_tests::{
    Netns, Transport, counters,
    fixture::{Fixture, GATEWAY_A, HOST, NETWORK_A, OUTSIDE, Sandbox},
};

use crate::gate::Offloads;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;

struct Case {
    arguments: &'static str,
    udp: bool,
}

const CASES: [Case; 4] = [
    Case {
        arguments: "-n 24M",
        udp: false,
    },
    Case {
        arguments: "-n 24M -R",
        udp: false,
    },
    Case {
        arguments: "-n 2M -u -b 60M -l 1200",
        udp: true,
    },
    Case {
        arguments: "-n 2M -u -b 60M -l 1200 -R",
        udp: true,
    },
];

#[track_caller]
fn measure(server: &Netns, client: &Netns, addresses: [&str; 2], port: u16) {
    let mut process = server.spawn(&format!("iperf3 -s -p {port}"));
    process.wait_for_port(server, Transport::Tcp, port);
    for address in addresses {
        for case in &CASES {
            let arguments = case.arguments;
            let receiver = if arguments.contains("-R") {
                client
            } else {
                server
            };
            let before = received(receiver);
            let end = run(client, address, port, arguments);
            if case.udp {
                // On a busy machine the receiving socket drops datagrams, which does not count.
                let packets = end["sum"]["packets"].as_u64().expect("packets");
                let arrived = received(receiver) - before;
                assert!(
                    packets > 1500 && arrived >= packets,
                    "{address} {arguments}: {arrived} of {packets} arrived"
                );
                let lost = end["sum"]["lost_percent"].as_f64().expect("lost");
                assert!(lost < 90.0, "{address} {arguments}: lost {lost}%");
            } else {
                let bytes = end["sum_received"]["bytes"].as_u64().expect("bytes");
                // The client stops when it has sent everything; packets in flight are not counted.
                assert!(bytes > 10_000_000, "{address} {arguments}: {bytes}");
            }
        }
    }
}

/// Packets that the stack of a namespace has received.
fn received(netns: &Netns) -> u64 {
    let counters = counters(netns);
    counters["IpInReceives"] + counters["Ip6InReceives"]
}

/// Runs one measurement; the server may still handle the end of the previous one.
#[track_caller]
fn run(client: &Netns, address: &str, port: u16, arguments: &str) -> Value {
    let line = format!("iperf3 -c {address} -p {port} -J {arguments}");
    let command: Vec<&str> = line.split(' ').collect();
    for _ in 0..20 {
        let output = client.run(&command);
        let report: Value = serde_json::from_str(&output.stdout).expect("report");
        match report["error"].as_str() {
            None => return report["end"].clone(),
            Some(error) if error.contains("busy") => thread::sleep(Duration::from_millis(100)),
            Some(error) => panic!("{line}: {error}"),
        }
    }
    panic!("{line}: the server is busy for two seconds")
}

/// N-7: partial checksums and GSO packets stay valid in every direction.
pub fn pass(offloads: Offloads) {
    let fixture = offloads.fixture();
    every_path(&fixture);
    if offloads == Offloads::Off {
        // And with offloads in the sandboxes only.
        let mut fixture = Fixture::on(offloads.topology().build());
        fixture.offloads = true;
        every_path(&fixture);
    }
}

fn every_path(fixture: &Fixture) {
    fixture.network("network_a", NETWORK_A, &[]);
    let publish = ["5201:5201", "5201:5201/udp"];
    let sandbox = fixture.sandbox("perf", "network_a", &publish);
    let sibling = fixture.sandbox("sibling", "network_a", &[]);
    measure(&sandbox.netns, fixture.outside(), [HOST.0, HOST.1], 5201);
    measure(
        fixture.outside(),
        &sandbox.netns,
        [OUTSIDE.0, OUTSIDE.1],
        5201,
    );
    measure(&sandbox.netns, &sibling.netns, sandbox.addresses(), 5201);
    measure(
        fixture.host(),
        &sandbox.netns,
        [GATEWAY_A.0, GATEWAY_A.1],
        // A published port is reachable at the gateway's address too.
        5202,
    );
    segments(fixture, &sandbox);
    fixture.assert_clean(&[&sandbox, &sibling]);
}

/// A GSO packet of many datagrams, which the last device segments.
fn segments(fixture: &Fixture, sandbox: &Sandbox) {
    for (family, own) in [(0, "0.0.0.0:0"), (1, "[::]:0")] {
        let bind = if family == 0 {
            "0.0.0.0:7100"
        } else {
            "[::]:7100"
        };
        let receiver = fixture
            .outside()
            .enter(|| UdpSocket::bind(bind).expect("bind"));
        let limit = Some(Duration::from_secs(5));
        receiver.set_read_timeout(limit).expect("timeout");
        let sender = sandbox.netns.enter(|| UdpSocket::bind(own).expect("bind"));
        setsockopt(&sender, sockopt::UdpGsoSegment, &1200).expect("segments");
        let data: Vec<u8> = (0..12_000_u32).map(|number| (number / 7) as u8).collect();
        let to = [OUTSIDE.0, OUTSIDE.1][family];
        sender.send_to(&data, (to, 7100)).expect("send");
        let mut buffer = [0; 2000];
        for sent in data.chunks(1200) {
            let length = receiver.recv(&mut buffer).expect("a datagram");
            assert!(buffer[..length] == *sent, "{to}: {length} bytes");
        }
    }
}
