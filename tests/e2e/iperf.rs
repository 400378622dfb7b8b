//! Streams and datagrams in both directions, with every kind of checksum offload.

use std::{thread, time::Duration};

use netpath_tests::{Netns, Topology, Transport, counters};
use serde_json::Value;

use crate::stage::{HOST, OUTSIDE, SHOP, Sandbox, Stage};

const OFF: &str = "tx off rx off sg off tso off gso off gro off";

struct Case {
    arguments: &'static str,
    udp: bool,
}

const CASES: [Case; 4] = [
    Case {
        arguments: "-n 100M",
        udp: false,
    },
    Case {
        arguments: "-n 100M -R",
        udp: false,
    },
    Case {
        arguments: "-n 4M -u -b 60M -l 1200",
        udp: true,
    },
    Case {
        arguments: "-n 4M -u -b 60M -l 1200 -R",
        udp: true,
    },
];

#[track_caller]
fn measure(server: &Netns, client: &Netns, addresses: [&str; 2]) {
    let mut process = server.spawn("iperf3 -s -p 5201");
    process.wait_for_port(server, Transport::Tcp, 5201);
    for address in addresses {
        for case in &CASES {
            let arguments = case.arguments;
            let receiver = if arguments.contains("-R") {
                client
            } else {
                server
            };
            let before = received(receiver);
            let end = run(client, address, arguments);
            if case.udp {
                // What a busy machine does not read in time is lost between the stack and the program, not before.
                let packets = end["sum"]["packets"].as_u64().expect("packets");
                let arrived = received(receiver) - before;
                assert!(
                    packets > 3000 && arrived >= packets,
                    "{address} {arguments}: {arrived} of {packets} arrived"
                );
                let lost = end["sum"]["lost_percent"].as_f64().expect("lost");
                assert!(lost < 90.0, "{address} {arguments}: lost {lost}%");
            } else {
                let bytes = end["sum_received"]["bytes"].as_u64().expect("bytes");
                // The client ends when it has sent all; what is under way then is not counted.
                assert!(bytes > 40_000_000, "{address} {arguments}: {bytes}");
            }
        }
    }
}

/// Packets that the stack of a namespace has received.
fn received(netns: &Netns) -> u64 {
    let counters = counters(netns);
    counters["IpInReceives"] + counters["Ip6InReceives"]
}

/// Runs one measurement; the server may still be busy with the end of the one before.
#[track_caller]
fn run(client: &Netns, address: &str, arguments: &str) -> Value {
    let line = format!("iperf3 -c {address} -p 5201 -J {arguments}");
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

#[track_caller]
fn server() -> [&'static str; 2] {
    ["5201:5201", "5201:5201/udp"]
}

fn both_ways(stage: &Stage, sandbox: &Sandbox) {
    measure(&sandbox.netns, stage.outside(), [HOST.0, HOST.1]);
    measure(stage.outside(), &sandbox.netns, [OUTSIDE.0, OUTSIDE.1]);
    stage.assert_clean(&[sandbox]);
}

#[test]
fn streams_and_datagrams_pass_both_ways_with_the_default_offloads() {
    let stage = Stage::new();
    stage.network("shop", SHOP, &[]);
    let sandbox = stage.sandbox("perf", "shop", &server());
    both_ways(&stage, &sandbox);
}

#[test]
fn streams_and_datagrams_pass_both_ways_without_any_offload() {
    let stage = Stage::on(Topology::builder().without_offloads().build());
    stage.network("shop", SHOP, &[]);
    let sandbox = stage.sandbox("perf", "shop", &server());
    sandbox.netns.exec(&format!("ethtool -K eth0 {OFF}"));
    let device = &sandbox.host_interface;
    stage.host().exec(&format!("ethtool -K {device} {OFF}"));
    both_ways(&stage, &sandbox);
}

#[test]
fn streams_and_datagrams_pass_when_only_the_sandbox_has_offloads() {
    let stage = Stage::on(Topology::builder().without_offloads().build());
    stage.network("shop", SHOP, &[]);
    let sandbox = stage.sandbox("perf", "shop", &server());
    both_ways(&stage, &sandbox);
}
