//! Overlay networks on a node without a distributed store: a cluster of one node.

use netpath_tests::{eventually, fixture::Fixture};
use serde_json::json;

#[test]
fn overlay_network_of_one_node_is_used_and_removed() {
    let fixture = Fixture::new();
    fixture.cli_ok("network create web --driver overlay --subnet 10.77.0.0/22 --ipv6");
    let shown = &fixture.json("network inspect web")[0];
    assert_eq!(shown["driver"], "overlay");
    assert_eq!(shown["scope"], "global");
    assert_eq!(
        (&shown["vni"], &shown["encap"]),
        (&json!(4096), &json!("vxlan"))
    );
    assert_eq!(shown["mtu"], 1450);
    assert_eq!(shown["gateways"][0], "10.77.0.1");
    // A network without a sandbox on this node has no device.
    let bridges = |fixture: &Fixture| fixture.host().exec("ip -o link show type bridge");
    let before = bridges(&fixture).lines().count();

    fixture.cli_ok("sandbox create a --network web -p 8081:80");
    fixture.cli_ok("sandbox create b --network web --ip 10.77.3.9");
    assert_eq!(bridges(&fixture).lines().count(), before + 1);
    let a = fixture.json("sandbox inspect a")[0]["endpoints"][0].clone();
    assert_eq!(a["mac"], "02:42:0a:4d:00:02");
    assert_eq!(a["mtu"], 1450);
    assert_eq!(a["addresses"][0], "10.77.0.2/22");
    let b = fixture.json("sandbox inspect b")[0]["endpoints"][0].clone();
    assert_eq!(
        (&b["mac"], &b["addresses"][0]),
        (&json!("02:42:0a:4d:03:09"), &json!("10.77.3.9/22"))
    );
    fixture.cli_ok("sandbox exec a -- ping -c 1 -W 5 10.77.3.9");

    let nodes = fixture.json("node ls");
    assert_eq!(nodes.as_array().map(Vec::len), Some(1));
    assert_eq!(nodes[0]["state"], "ready");
    assert_eq!(nodes[0]["networks"], json!(["web"]));
    assert_eq!(nodes[0]["last_seen_s"], 0);

    let error = fixture.cli("network rm web").failure(1);
    assert!(error.contains("in use by 'a', 'b'"), "{error}");
    fixture.cli_ok("sandbox rm a b");
    eventually("the bridge is gone", 5, || {
        bridges(&fixture).lines().count() == before
    });
    assert_eq!(fixture.json("node ls")[0]["networks"], json!([]));
    fixture.cli_ok("network rm web");
    let error = fixture.cli("network inspect web").failure(1);
    assert!(error.contains("no network 'web'"), "{error}");
}

#[test]
fn overlay_network_survives_a_restart_of_the_daemon() {
    let mut fixture = Fixture::new();
    fixture.cli_ok("network create web --driver overlay --subnet 10.77.0.0/22");
    fixture.cli_ok("sandbox create a --network web");
    let before = fixture.json("sandbox inspect a");
    fixture.daemon.kill9();
    fixture.daemon.restart();
    assert_eq!(fixture.json("sandbox inspect a"), before);
    fixture.cli_ok("sandbox create b --network web");
    let b = fixture.json("sandbox inspect b")[0]["endpoints"][0]["addresses"][0].clone();
    assert_eq!(b, "10.77.0.3/22");
}

#[test]
fn invalid_overlay_networks_are_refused() {
    let fixture = Fixture::new();
    fixture.cli_ok("network create web --driver overlay --subnet 10.77.0.0/22 --vni 5000");
    for (line, reason) in [
        ("web --driver overlay", "exists"),
        ("web", "exists"),
        ("b --driver overlay --vni 5000", "'web' has it"),
        (
            "b --driver overlay --subnet 10.77.2.0/24",
            "overlaps 10.77.0.0/22 of network 'web'",
        ),
        ("b --driver overlay --subnet 192.0.2.0/25", "overlaps"),
        (
            "b --subnet 10.77.3.0/24",
            "overlaps 10.77.0.0/22 of network 'web'",
        ),
        ("b --driver overlay --encap none", "not supported"),
        ("b --driver overlay --encap gre", "'gre'"),
        ("b --driver overlay --vni 0", "between 1 and 16777215"),
        (
            "b --driver overlay --gateway-mode routed",
            "--gateway-mode routed",
        ),
        ("b --encap vxlan", "only overlay networks have one"),
        ("b --vni 7", "only overlay networks have one"),
    ] {
        let error = fixture.cli(&format!("network create {line}")).failure(1);
        assert!(error.contains(reason), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let error = fixture.cli("node rm nobody").failure(1);
    assert!(error.contains("no node 'nobody'"), "{error}");
}
