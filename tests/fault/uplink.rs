//! The way out changes.

use netpath_tests::Topology;

use crate::world::{HOST, Line, OUTSIDE, World, eventually, serve};

const CONFIG: &str = "reconcile_s = 1\n[limits]\nflows = 16384\nhalf_open = 4096\n";
const SECONDS: u64 = 10;

fn world() -> World {
    let world = World::new();
    world.server("web", "-p 8080:80");
    serve(&world.topology.outside, 7000, "outside");
    world
}

/// The address that the outside sees a sandbox under.
fn seen_as(world: &World, server: &str) -> Result<String, String> {
    world
        .dial_from_sandbox("web", server)
        .map(|line| line.seen_as)
}

#[track_caller]
fn works_at(world: &World, address: &str) {
    let outside = &world.topology.outside;
    eventually(&format!("published at {address}"), SECONDS, || {
        let line = outside.enter(|| Line::dial(&format!("{address}:8080")));
        line.is_ok_and(|line| line.greeting == "web")
    });
    eventually(&format!("SNAT to {address}"), SECONDS, || {
        seen_as(world, &format!("{OUTSIDE}:7000")).as_deref() == Ok(address)
    });
    let greeting = world.greeting_on_host(address, 8080);
    assert_eq!(greeting.as_deref(), Ok("web"));
}

#[test]
fn a_new_address_of_the_uplink_is_followed_and_the_old_one_forgotten() {
    let world = world();
    works_at(&world, HOST);
    let host = &world.topology.host;
    let line = world.dial_from_outside(8080).expect("connection");
    host.exec("ip addr add 192.0.2.50/24 dev eth0");
    host.exec(&format!("ip addr del {HOST}/24 dev eth0"));
    host.exec("ip addr replace 192.0.2.50/24 dev eth0");
    host.exec(&format!("ip route replace default via {OUTSIDE}"));
    works_at(&world, "192.0.2.50");
    assert!(world.dial_from_outside(8080).is_err(), "the old address");
    drop(line);
    eventually("flows of the old address are gone", 15, || {
        !world
            .ok("map dump nat -o json")
            .contains(&format!("\"{HOST}\""))
    });
}

#[test]
fn an_uplink_that_goes_down_and_up_works_again() {
    let world = world();
    let mut line = world.dial_from_outside(8080).expect("connection");
    let host = &world.topology.host;
    host.exec("ip link set eth0 down");
    assert!(world.dial_from_outside(8080).is_err());
    host.exec("ip link set eth0 up");
    host.exec(&format!("ip route replace default via {OUTSIDE}"));
    works_at(&world, HOST);
    line.talk();
    assert_eq!(world.status()["uplinks"], serde_json::json!(["eth0"]));
}

#[test]
fn a_device_that_gets_a_default_route_becomes_an_uplink_and_back() {
    let world = World::on(Topology::builder().second_uplink().build(), CONFIG);
    world.server("web", "-p 8080:80");
    let second = world.topology.second.clone().expect("second");
    serve(&second, 7000, "second");
    let host = &world.topology.host;
    assert_eq!(world.status()["uplinks"], serde_json::json!(["eth0"]));
    host.exec("ip route add default via 198.51.100.2 dev eth1 metric 200");
    eventually("eth1 is an uplink", SECONDS, || {
        world.status()["uplinks"] == serde_json::json!(["eth0", "eth1"])
    });
    let dial = || second.enter(|| Line::dial("198.51.100.1:8080"));
    eventually("published on eth1", SECONDS, || dial().is_ok());
    assert_eq!(
        seen_as(&world, "198.51.100.2:7000").as_deref(),
        Ok("198.51.100.1")
    );
    host.exec("ip route del default via 198.51.100.2 dev eth1");
    eventually("eth1 is none any more", SECONDS, || {
        world.status()["uplinks"] == serde_json::json!(["eth0"])
    });
    assert!(dial().is_err(), "still published on eth1");
    let seen = seen_as(&world, "198.51.100.2:7000");
    assert!(seen.is_err(), "still translated on eth1: {seen:?}");
}

#[test]
fn an_uplink_that_is_replaced_by_another_device_of_its_name_is_followed() {
    let world = world();
    let (host, outside) = (&world.topology.host, &world.topology.outside);
    host.exec("ip link del eth0");
    eventually("nothing is left to lead outside", SECONDS, || {
        world.status()["uplinks"] == serde_json::json!([])
    });
    host.exec(&format!(
        "ip link add name eth0 type veth peer name eth0 netns {}",
        outside.path().display()
    ));
    for (netns, address) in [(host, HOST), (outside, OUTSIDE)] {
        netns.exec(&format!("ip addr add {address}/24 dev eth0"));
        netns.exec("ip link set eth0 up");
    }
    host.exec(&format!("ip route add default via {OUTSIDE}"));
    works_at(&world, HOST);
}
