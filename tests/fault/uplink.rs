//! Changes of the interfaces of the node.

use netpath_tests::{
    eventually,
    fixture::{EchoClient, Fixture, HOST_V4, OUTSIDE_V4, Topology, serve_echo},
};

const CONFIG: &str = "reconcile_s = 1\n[limits]\nflows = 16384\nhalf_open = 4096\n";
const SECONDS: u64 = 10;

fn fixture() -> Fixture {
    let fixture = Fixture::with_fast_reconcile();
    fixture.echo_sandbox("web", "-p 8080:80");
    serve_echo(fixture.outside(), 7000, "outside");
    fixture
}

/// The source address that the outside sees for a sandbox.
fn seen_as(fixture: &Fixture, server: &str) -> Result<String, String> {
    fixture
        .connect_from_sandbox("web", server)
        .map(|line| line.seen_as)
}

#[track_caller]
fn assert_reachable_at(fixture: &Fixture, address: &str) {
    let outside = fixture.outside();
    eventually(&format!("published at {address}"), SECONDS, || {
        let line = outside.enter(|| EchoClient::connect(&format!("{address}:8080")));
        line.is_ok_and(|line| line.server == "web")
    });
    eventually(&format!("SNAT to {address}"), SECONDS, || {
        seen_as(fixture, &format!("{OUTSIDE_V4}:7000")).as_deref() == Ok(address)
    });
    let greeting = fixture.query_from_host(address, 8080);
    assert_eq!(greeting.as_deref(), Ok("web"));
}

#[test]
fn new_uplink_address_is_used_and_old_one_removed() {
    let fixture = fixture();
    assert_reachable_at(&fixture, HOST_V4);
    let host = fixture.host();
    let line = fixture.connect_from_outside(8080).expect("connection");
    host.exec("ip addr add 192.0.2.50/24 dev eth0");
    host.exec(&format!("ip addr del {HOST_V4}/24 dev eth0"));
    host.exec("ip addr replace 192.0.2.50/24 dev eth0");
    host.exec(&format!("ip route replace default via {OUTSIDE_V4}"));
    assert_reachable_at(&fixture, "192.0.2.50");
    assert!(
        fixture.connect_from_outside(8080).is_err(),
        "the old address"
    );
    drop(line);
    eventually("flows of the old address are removed", 15, || {
        !fixture
            .cli_ok("map dump nat -o json")
            .contains(&format!("\"{HOST_V4}\""))
    });
}

#[test]
fn uplink_works_after_it_was_down() {
    let fixture = fixture();
    let mut line = fixture.connect_from_outside(8080).expect("connection");
    let host = fixture.host();
    host.exec("ip link set eth0 down");
    assert!(fixture.connect_from_outside(8080).is_err());
    host.exec("ip link set eth0 up");
    host.exec(&format!("ip route replace default via {OUTSIDE_V4}"));
    assert_reachable_at(&fixture, HOST_V4);
    line.exchange_line();
    assert_eq!(fixture.status()["uplinks"], serde_json::json!(["eth0"]));
}

#[test]
fn class1_default_route_does_not_change_the_service_of_an_interface() {
    let fixture = Fixture::start(Topology::builder().second_uplink().build(), &[], CONFIG);
    fixture.echo_sandbox("web", "-p 8080:80");
    let second = fixture.topology.second.clone().expect("second");
    serve_echo(&second, 7000, "second");
    let host = fixture.host();
    let mut line = second
        .enter(|| EchoClient::connect("198.51.100.1:8080"))
        .expect("published on eth1");
    for change in ["add", "del"] {
        assert_eq!(
            seen_as(&fixture, "198.51.100.2:7000").as_deref(),
            Ok("198.51.100.1")
        );
        line.exchange_line();
        host.exec(&format!(
            "ip route {change} default via 198.51.100.2 dev eth1 metric 200"
        ));
    }
    line.exchange_line();
    let uplinks = serde_json::json!(["eth0", "eth1"]);
    assert_eq!(fixture.status()["uplinks"], uplinks);
}

#[test]
fn uplink_replaced_by_a_device_of_the_same_name_is_used() {
    let fixture = fixture();
    let (host, outside) = (fixture.host(), fixture.outside());
    host.exec("ip link del eth0");
    eventually("no uplink is left", SECONDS, || {
        fixture.status()["uplinks"] == serde_json::json!([])
    });
    host.exec(&format!(
        "ip link add name eth0 type veth peer name eth0 netns {}",
        outside.path().display()
    ));
    for (netns, address) in [(host, HOST_V4), (outside, OUTSIDE_V4)] {
        netns.exec(&format!("ip addr add {address}/24 dev eth0"));
        netns.exec("ip link set eth0 up");
    }
    host.exec(&format!("ip route add default via {OUTSIDE_V4}"));
    assert_reachable_at(&fixture, HOST_V4);
}
