//! Docker networks.

use netpath_tests::{
    fixture::{HOST, OUTSIDE},
    peer::{self, Request, SocketType},
};

use crate::engine::Engine;

fn tcp(address: &str, port: u16) -> [Request; 1] {
    [Request::new(SocketType::Tcp, address, port)]
}

#[test]
fn network_is_adopted_and_removed_with_the_engine() {
    let engine = Engine::start();
    engine.docker("network create --subnet 10.44.0.0/24 -o com.docker.network.driver.mtu=1400 web");
    engine.wait("the network is adopted", |engine| {
        engine.netpath("network ls").to_string().contains("\"web\"")
    });
    let network = &engine.netpath("network inspect web")[0];
    assert_eq!(network["owner"], "docker");
    assert_eq!(network["subnets"], serde_json::json!(["10.44.0.0/24"]));
    assert_eq!(network["gateways"], serde_json::json!(["10.44.0.1"]));
    assert_eq!(network["mtu"], 1400);
    engine.docker("network rm web");
    engine.wait("the network is removed", |engine| {
        !engine.netpath("network ls").to_string().contains("\"web\"")
    });
    let refused = engine.run(&[
        &netpath_tests::netpath_binary().to_string_lossy(),
        "network",
        "rm",
        "docker-bridge",
    ]);
    assert!(
        refused.stderr.contains("belongs to docker"),
        "{}",
        refused.stderr
    );
}

#[test]
fn networks_are_isolated_and_connect_joins_them() {
    let engine = Engine::start();
    engine.docker("network create one");
    engine.docker("network create two");
    let one = engine.sleeper("one", "--network one");
    let two = engine.sleeper("two", "--network two -p 8080:80");
    let _server = peer::serve(&two, "two", &["80"]);
    let address = engine.address("two", "two");
    peer::assert_no_reply(&one, &tcp(&address, 80));
    engine.docker("network connect two one");
    peer::send_requests(&one, &tcp(&address, 80));
    engine.wait("both endpoints are adopted", |engine| {
        let sandboxes = engine.netpath("sandbox ls");
        let mut sandboxes = sandboxes.as_array().expect("sandboxes").iter();
        sandboxes.any(|sandbox| sandbox["endpoints"].as_array().map(Vec::len) == Some(2))
    });
    peer::send_requests(&engine.topology.outside, &tcp(HOST.0, 8080));
    engine.docker("network disconnect two one");
    engine.wait("the endpoint is removed", |engine| {
        engine.netpath("network inspect two")[0]["sandboxes"]
            .as_array()
            .map(Vec::len)
            == Some(1)
    });
    peer::assert_no_reply(&one, &tcp(&address, 80));
    engine.assert_clean();
}

#[test]
fn internal_network_has_no_external_access_and_icc_is_enforced() {
    let engine = Engine::start();
    engine.docker("network create --internal inside");
    engine.docker("network create -o com.docker.network.bridge.enable_icc=false quiet");
    let inside = engine.sleeper("inside", "--network inside -p 8080:80");
    let (first, second) = (
        engine.sleeper("first", "--network quiet"),
        engine.sleeper("second", "--network quiet"),
    );
    let _servers = [
        peer::serve(&inside, "inside", &["80"]),
        peer::serve(&second, "second", &["80"]),
        peer::serve(&engine.topology.outside, "outside", &["7000"]),
    ];
    peer::assert_no_reply(&inside, &tcp(OUTSIDE.0, 7000));
    peer::assert_no_reply(&engine.topology.outside, &tcp(HOST.0, 8080));
    peer::assert_no_reply(&first, &tcp(&engine.address("second", "quiet"), 80));
    peer::send_requests(&first, &tcp(OUTSIDE.0, 7000));
    engine.assert_clean();
}

#[test]
fn container_is_not_reachable_by_a_route_from_outside() {
    let engine = Engine::start();
    let web = engine.sleeper("web", "");
    let _server = peer::serve(&web, "web", &["80"]);
    let route = format!("ip route add 172.17.0.0/16 via {}", HOST.0);
    engine.topology.outside.exec(&route);
    peer::assert_no_reply(
        &engine.topology.outside,
        &tcp(&engine.address("web", "bridge"), 80),
    );
    peer::send_requests(
        &engine.topology.host,
        &tcp(&engine.address("web", "bridge"), 80),
    );
}

#[test]
fn network_with_ipv6_is_dual_stack() {
    let engine = Engine::start();
    engine.docker("network create --ipv6 --subnet fd00:44::/64 dual");
    let web = engine.sleeper("web", "--network dual -p 8080:80 -p 8080:80/udp");
    let _server = peer::serve(&web, "web", &["80"]);
    let _outside = peer::serve(&engine.topology.outside, "outside", &["7000"]);
    peer::send_requests(
        &engine.topology.outside,
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    for (address, source) in [(OUTSIDE.0, HOST.0), (OUTSIDE.1, HOST.1)] {
        let reply = peer::send_request(&web, &Request::new(SocketType::Tcp, address, 7000));
        assert_eq!(reply.peer, source);
    }
    engine.assert_clean();
}
