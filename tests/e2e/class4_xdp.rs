//! The deny list in XDP.

use netpath_tests::{
    Capture, Netns,
    fixture::{Fixture, HOST, NETWORK_A, OUTSIDE, Topology},
    peer,
};
use serde_json::Value;

use crate::class4_deny::Node;

/// A mode: its setting, and as `netpath status` and `ip link` show it.
type Mode = (&'static str, &'static str, u64);

const NATIVE: Mode = ("native", "xdp-native", 1);
const GENERIC: Mode = ("generic", "xdp-generic", 2);

/// Mode and program id of XDP at a device, as the kernel reports them; `None` without a program.
#[track_caller]
fn xdp(host: &Netns, device: &str) -> Option<(u64, u64)> {
    let shown = host.exec(&format!("ip -j link show dev {device}"));
    let shown: Value = serde_json::from_str(&shown).expect("a device");
    let xdp = shown[0].get("xdp")?;
    Some((xdp["mode"].as_u64()?, xdp["prog"]["id"].as_u64()?))
}

/// The status of the program `xdp-deny`: interface, mode, whether it is attached.
#[track_caller]
fn programs(fixture: &Fixture) -> Vec<(String, String, bool)> {
    let status = fixture.status();
    let programs = status["programs"].as_array().expect("programs").iter();
    let programs = programs.filter(|program| program["name"] == "xdp-deny");
    let text = |program: &Value, key: &str| program[key].as_str().unwrap_or_default().to_owned();
    programs
        .map(|program| {
            let attached = program["attached"] == true;
            (text(program, "interface"), text(program, "mode"), attached)
        })
        .collect()
}

/// A capture sees no packet that XDP drops.
#[track_caller]
fn assert_denied_before_the_stack(node: &Node) {
    let host = node.fixture.host();
    let capture = Capture::start(host, "eth0");
    node.assert_denied();
    let filter = format!(
        "(src host {} or src host {}) and dst port 8080",
        OUTSIDE.0, OUTSIDE.1
    );
    let packets = capture.packets(host, &[&filter]);
    assert_eq!(packets, "");
}

#[test]
fn class4_native_xdp_denies_clients_of_published_ports_only() {
    assert_clients_are_denied(NATIVE);
}

#[test]
fn class4_generic_xdp_denies_clients_of_published_ports_only() {
    assert_clients_are_denied(GENERIC);
}

#[track_caller]
fn assert_clients_are_denied((mode, shown, number): Mode) {
    let node = Node::with(&["--xdp", mode], "");
    let fixture = &node.fixture;
    assert_eq!(
        programs(fixture),
        [("eth0".to_owned(), shown.to_owned(), true)]
    );
    assert_eq!(fixture.status()["degraded"], serde_json::json!([]));
    let (found, _) = xdp(fixture.host(), "eth0").expect("a program");
    assert_eq!(found, number, "{mode}");
    assert_eq!(xdp(fixture.host(), &node.web.host_interface), None);
    let _own = peer::serve(fixture.host(), "host", &["9000"]);
    node.assert_served(&[node.outside(), node.neighbour()]);
    fixture.cli_ok(&format!("deny add {} {}", OUTSIDE.0, OUTSIDE.1));
    assert_denied_before_the_stack(&node);
    node.assert_served(&[node.neighbour()]);
    let own = peer::tcp_and_udp_requests([HOST.0, HOST.1], 9000);
    peer::send_requests(node.outside(), &own);
    // Replies to the node's own sockets.
    let _outside = peer::serve(node.outside(), "outside", &["7000"]);
    let from_port =
        |address| peer::Request::new(peer::SocketType::SendTo, address, 7000).source_port(8090);
    peer::send_requests(
        fixture.host(),
        &[from_port(OUTSIDE.0), from_port(OUTSIDE.1)],
    );
    fixture.cli_ok(&format!("deny rm {} {}", OUTSIDE.0, OUTSIDE.1));
    node.assert_served(&[node.outside(), node.neighbour()]);
    fixture.assert_clean(&[&node.web]);
}

#[test]
fn class4_native_xdp_survives_restarts_and_follows_the_setting() {
    assert_setting_is_followed(NATIVE);
}

#[test]
fn class4_generic_xdp_survives_restarts_and_follows_the_setting() {
    assert_setting_is_followed(GENERIC);
}

#[track_caller]
fn assert_setting_is_followed((mode, shown, number): Mode) {
    let mut node = Node::with(&["--xdp", mode], "");
    let command = format!("deny add {} {}", OUTSIDE.0, OUTSIDE.1);
    node.fixture.cli_ok(&command);
    let before = xdp(node.fixture.host(), "eth0").expect("a program");
    node.fixture.daemon.kill9();
    assert_denied_before_the_stack(&node);
    assert_eq!(xdp(node.fixture.host(), "eth0"), Some(before));
    node.fixture.daemon.restart();
    let after = xdp(node.fixture.host(), "eth0").expect("a program");
    assert_eq!(after.0, number);
    assert_ne!(after.1, before.1, "the program of the new daemon");
    assert_eq!(
        programs(&node.fixture),
        [("eth0".to_owned(), shown.to_owned(), true)]
    );
    assert_denied_before_the_stack(&node);
    node.assert_served(&[node.neighbour()]);
    node.fixture.daemon.restart_with(&["--xdp", "off"]);
    assert_eq!(xdp(node.fixture.host(), "eth0"), None);
    assert_eq!(programs(&node.fixture), []);
    node.assert_denied();
    node.fixture.daemon.restart_with(&["--xdp", mode]);
    assert!(xdp(node.fixture.host(), "eth0").is_some());
    let host = node.fixture.host().clone();
    let fixture = node.fixture;
    fixture.daemon.teardown();
    assert_eq!(xdp(&host, "eth0"), None);
}

#[test]
fn class4_interface_that_refuses_xdp_uses_tc() {
    let topology = Topology::new();
    topology.host.exec("ip link add refuses type bridge");
    topology.host.exec("ip link set refuses up");
    let fixture = Fixture::start(topology, &["--xdp", "native"], "");
    fixture.network("network_a", NETWORK_A, &[]);
    let status = fixture.status();
    let degraded = status["degraded"].as_array().expect("a list");
    let reason = degraded.iter().filter_map(Value::as_str);
    let reason: Vec<_> = reason.filter(|text| text.contains("XDP")).collect();
    assert_eq!(reason.len(), 1, "{status}");
    assert!(
        reason[0].starts_with("interface refuses does not use XDP: "),
        "{reason:?}"
    );
    assert_eq!(status["ready"], true, "{status}");
    let expected = ("eth0".to_owned(), "xdp-native".to_owned(), true);
    assert_eq!(programs(&fixture), [expected]);
    // A later interface, and a renamed one.
    fixture.host().exec("ip link set dev eth0 down");
    fixture.host().exec("ip link set dev eth0 name lan0");
    fixture.host().exec("ip link set dev lan0 up");
    fixture.wait_for("the interface is renamed", || {
        programs(&fixture) == [("lan0".to_owned(), "xdp-native".to_owned(), true)]
    });
}
