//! Interfaces that appear, change and disappear while the daemon runs.

use std::time::Instant;

use aya::programs::{SchedClassifier, TcAttachType};
use netpath_tests::{
    Netns, eventually,
    fixture::{EchoClient, Fixture, Topology},
};
use serde_json::json;

const SECONDS: u64 = 10;

/// A node that publishes port 8080 and does not reconcile periodically during a test.
fn fixture() -> (Fixture, Netns) {
    let topology = Topology::builder().second_uplink().build();
    let fixture = Fixture::start(topology, &[], "reconcile_s = 600\n");
    fixture.echo_sandbox("web", "-p 8080:80");
    let second = fixture.topology.second.clone().expect("second");
    (fixture, second)
}

fn dial(from: &Netns) -> Result<EchoClient, String> {
    from.enter(|| EchoClient::connect("198.51.100.1:8080"))
}

/// Waits until `from` reaches the published port at the node's second address.
#[track_caller]
fn assert_served(from: &Netns) {
    eventually("published", SECONDS, || dial(from).is_ok());
}

/// Waits until the node has these uplinks.
#[track_caller]
fn assert_uplinks(fixture: &Fixture, uplinks: &[&str]) {
    eventually(&format!("{uplinks:?}"), SECONDS, || {
        fixture.status()["uplinks"] == json!(uplinks)
    });
}

/// Number of programs of netpath that TCX links run on a device of a namespace.
fn programs(netns: &Netns, device: &str) -> usize {
    let both = [TcAttachType::Ingress, TcAttachType::Egress].into_iter();
    both.map(|direction| {
        let found = netns.enter(|| SchedClassifier::query_tcx(device, direction));
        let (_, programs) = found.expect("TCX");
        let mut names = programs.iter().filter_map(|program| program.name_as_str());
        usize::from(names.any(|name| name.starts_with("uplink_")))
    })
    .sum()
}

#[test]
fn class1_new_interface_without_address_has_programs_at_once() {
    let (fixture, _second) = fixture();
    let host = fixture.host();
    host.exec("ip link add name lan0 type veth peer name lan0p");
    host.exec("ip link set lan0 up");
    eventually("programs", 1, || programs(host, "lan0") == 2);
    assert_uplinks(&fixture, &["eth0", "eth1", "lan0", "lan0p"]);
    host.exec("ip link del lan0");
    assert_uplinks(&fixture, &["eth0", "eth1"]);
}

fn rename(host: &Netns) {
    host.exec("ip link set eth1 down");
    host.exec("ip link set eth1 name lan0");
    host.exec("ip link set lan0 up");
}

#[test]
fn class1_renamed_interface_keeps_its_programs() {
    let (fixture, second) = fixture();
    let mut line = dial(&second).expect("connection");
    let host = fixture.host();
    rename(host);
    assert_uplinks(&fixture, &["eth0", "lan0"]);
    assert_eq!(programs(host, "lan0"), 2);
    assert_served(&second);
    line.exchange_line();
}

#[test]
fn class1_renamed_interface_with_filters_has_no_qdisc_after_teardown() {
    let topology = Topology::builder().second_uplink().build();
    let fixture = Fixture::start(topology, &["--attach=filter"], "reconcile_s = 600\n");
    let host = fixture.host().clone();
    rename(&host);
    assert_uplinks(&fixture, &["eth0", "lan0"]);
    let Fixture {
        daemon, topology, ..
    } = fixture;
    daemon.teardown();
    let left = host.exec("tc qdisc show dev lan0");
    assert!(!left.contains("clsact"), "{left}");
    drop(topology);
}

#[test]
fn class1_interface_that_gets_a_master_is_replaced_by_it() {
    let (fixture, second) = fixture();
    let host = fixture.host();
    host.exec("ip link add name br0 type bridge");
    host.exec("ip link set br0 up");
    host.exec("ip addr del 198.51.100.1/24 dev eth1");
    host.exec("ip addr add 198.51.100.1/24 dev br0");
    host.exec("ip link set eth1 master br0");
    assert_uplinks(&fixture, &["br0", "eth0"]);
    assert_served(&second);
    assert_eq!((programs(host, "eth1"), programs(host, "br0")), (0, 2));

    host.exec("ip link set eth1 nomaster");
    host.exec("ip link del br0");
    host.exec("ip addr add 198.51.100.1/24 dev eth1");
    assert_uplinks(&fixture, &["eth0", "eth1"]);
    assert_served(&second);
}

#[test]
fn class1_interface_in_another_namespace_has_no_programs() {
    let (fixture, second) = fixture();
    let (host, other) = (fixture.host(), Netns::new("other"));
    host.exec(&format!(
        "ip link set eth1 netns {}",
        other.path().display()
    ));
    assert_uplinks(&fixture, &["eth0"]);
    eventually("no programs", SECONDS, || programs(&other, "eth1") == 0);

    let path = host.path().display().to_string();
    other.exec(&format!("ip link set eth1 netns {path}"));
    host.exec("ip addr add 198.51.100.1/24 dev eth1");
    host.exec("ip link set eth1 up");
    assert_uplinks(&fixture, &["eth0", "eth1"]);
    assert_served(&second);
}

#[test]
fn class1_hundreds_of_interfaces_are_attached_and_reconciled_quickly() {
    const COUNT: usize = 300;
    let (fixture, second) = fixture();
    let host = fixture.host();
    let mut lines = String::new();
    for number in 0..COUNT / 2 {
        lines.push_str(&format!(
            "link add name va{number} type veth peer name vb{number}\n"
        ));
        lines.push_str(&format!("link set va{number} up\nlink set vb{number} up\n"));
    }
    let mut file = tempfile::NamedTempFile::new().expect("file");
    std::io::Write::write_all(&mut file, lines.as_bytes()).expect("file");
    let start = Instant::now();
    host.exec(&format!("ip -batch {}", file.path().display()));
    eventually("programs on every interface", 60, || {
        let status = fixture.status();
        let uplinks = status["uplinks"].as_array().map_or(0, Vec::len);
        uplinks == COUNT + 2 && status["ready"] == true
    });
    println!("{COUNT} interfaces: {:?}", start.elapsed());
    assert!(dial(&second).is_ok());
    // A change of one address leads to a reconcile of everything.
    let before = fixture.status()["last_reconcile"].clone();
    host.exec("ip addr add 198.51.100.9/24 dev eth1");
    eventually("a reconcile", SECONDS, || {
        let status = fixture.status();
        let took = status["last_reconcile"]["duration_ms"].as_u64();
        println!("before {before}, then {took:?} ms");
        status["last_reconcile"]["age_s"].as_u64() == Some(0)
    });
}
