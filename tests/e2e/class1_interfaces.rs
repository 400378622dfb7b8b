//! Every interface of the node serves published ports, and sandboxes send through it: without a default route, without an Ethernet
//! header, and on bridges of other programs.

use netpath_tests::{
    Netns, Process, assert_no_bad_checksums,
    fixture::{Fixture, HOST, NETWORK_A, OUTSIDE, Pair, Sandbox, Topology, both},
    peer::{self, Request, SocketType},
    tunnel::Tunnel,
};

/// The host's addresses on `eth1`, and those of the host at its other end.
const HOST_1: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];
const SECOND: [&str; 2] = ["198.51.100.2", "2001:db8:51::2"];

fn two_interfaces(arguments: &[&str]) -> Fixture {
    Fixture::start(
        Topology::builder().second_uplink().build(),
        arguments,
        "reconcile_s = 600\n",
    )
}

fn second(fixture: &Fixture) -> Netns {
    fixture.topology.second.clone().expect("second")
}

/// A client in `from` uses port 8080 of the node at `addresses`, with every kind of socket.
#[track_caller]
pub(crate) fn assert_served(from: &Netns, addresses: [&str; 2], client: [&str; 2]) {
    let (requests, seen) = with_every_socket(addresses, 8080, client);
    let replies = peer::send_requests(from, &requests);
    for ((request, reply), seen) in requests.iter().zip(replies).zip(seen) {
        assert_eq!(reply.name, "web", "{request}");
        assert_eq!(reply.peer, seen, "{request}");
        assert_eq!(reply.from, request.address(), "{request}");
    }
}

/// A sandbox reaches a server on port 7000 of `addresses`, which sees the source addresses `seen`.
#[track_caller]
pub(crate) fn assert_leaves(sandbox: &Sandbox, addresses: [&str; 2], seen: [&str; 2]) {
    let (requests, seen) = with_every_socket(addresses, 7000, seen);
    let replies = peer::send_requests(&sandbox.netns, &requests);
    for ((request, reply), seen) in requests.iter().zip(replies).zip(seen) {
        assert_eq!(reply.peer, seen, "{request}");
    }
}

/// Requests to a port of both addresses with every kind of socket, each with the value of its family.
fn with_every_socket<'a>(
    addresses: [&str; 2],
    port: u16,
    values: [&'a str; 2],
) -> (Vec<Request>, Vec<&'a str>) {
    let families = addresses.into_iter().zip(values);
    let requests = families.flat_map(|(address, value)| {
        SocketType::ALL.map(|socket_type| (Request::new(socket_type, address, port), value))
    });
    requests.unzip()
}

/// A sandbox that publishes its port 80 as 8080, with a server.
pub(crate) fn web(fixture: &Fixture) -> (Sandbox, Process) {
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let server = peer::serve(&web.netns, "web", &["80"]);
    (web, server)
}

#[test]
fn class1_interface_without_a_default_route_works_in_both_directions() {
    let fixture = two_interfaces(&[]);
    let second = second(&fixture);
    let (web, _server) = web(&fixture);
    let _other = peer::serve(&second, "second", &["7000"]);
    assert_served(&second, HOST_1, SECOND);
    assert_leaves(&web, SECOND, HOST_1);
    assert_eq!(peer::ping(&web.netns, SECOND[0], 9, 2), 2);
    assert_eq!(peer::ping(&web.netns, SECOND[1], 9, 2), 2);
    // The address of the other interface is an address of the node too.
    second.exec("ip route add 192.0.2.1 via 198.51.100.1");
    let reply = peer::send_request(&second, &Request::new(SocketType::Tcp, HOST.0, 8080));
    assert_eq!(reply.name, "web");
    assert_eq!(
        fixture.status()["uplinks"],
        serde_json::json!(["eth0", "eth1"])
    );
    fixture.assert_clean(&[&web]);
}

/// The role of a device in the status.
pub(crate) fn role(fixture: &Fixture, device: &str) -> String {
    let status = fixture.status();
    let mut found = status["interfaces"].as_array().into_iter().flatten();
    let found = found.find(|found| found["name"] == device);
    let role = found.and_then(|found| found["role"].as_str());
    role.unwrap_or("missing").to_owned()
}

#[test]
fn class1_bridge_of_another_program_works_in_both_directions() {
    let fixture = Fixture::with_config("reconcile_s = 600\n");
    let host = fixture.host();
    let guest = Netns::new("guest");
    host.exec("ip link add name virbr0 type bridge");
    host.exec(&format!(
        "ip link add name vnet0 type veth peer name eth0 netns {}",
        guest.path().display()
    ));
    host.exec("ip link set vnet0 master virbr0");
    for device in ["vnet0", "virbr0"] {
        host.exec(&format!("ip link set {device} up"));
    }
    guest.exec("ip link set eth0 up");
    for (netns, device, number) in [(host, "virbr0", 1), (&guest, "eth0", 2)] {
        netns.exec(&format!("ip addr add 192.168.122.{number}/24 dev {device}"));
        netns.exec(&format!(
            "ip addr add fd00:122::{number}/64 dev {device} nodad"
        ));
    }
    let (web, _server) = web(&fixture);
    let _other = peer::serve(&guest, "guest", &["7000"]);
    let (bridge, guest_addresses) = (
        ["192.168.122.1", "fd00:122::1"],
        ["192.168.122.2", "fd00:122::2"],
    );
    assert_served(&guest, bridge, guest_addresses);
    assert_leaves(&web, guest_addresses, bridge);
    let roles = ["virbr0", "vnet0", "lo", &web.host_interface].map(|name| role(&fixture, name));
    assert_eq!(roles, ["uplink", "port", "loopback", "own"]);
    fixture.assert_clean(&[&web]);
}

#[test]
fn class1_uplink_setting_restricts_service_and_keeps_the_guards() {
    let fixture = two_interfaces(&["--uplink=eth0"]);
    let second = second(&fixture);
    let (web, _server) = web(&fixture);
    let _other = peer::serve(&second, "second", &["7000"]);
    assert_eq!(fixture.status()["uplinks"], serde_json::json!(["eth0"]));
    assert_eq!(role(&fixture, "eth1"), "guarded");
    assert_served(fixture.outside(), both(HOST), both(OUTSIDE));
    for address in HOST_1 {
        let request = Request::new(SocketType::Udp, address, 8080);
        let replies = peer::send_requests_within(&second, &[request], NO_REPLY);
        assert!(replies[0].is_err(), "{replies:?}");
    }
    for address in SECOND {
        let request = Request::new(SocketType::Udp, address, 7000);
        peer::assert_no_reply(&web.netns, &[request]);
    }
    assert!(fixture.counted("drop_no_uplink") > 0);
    second.exec(&format!("ip route add {} via {}", NETWORK_A.0, HOST_1[0]));
    peer::assert_no_reply(&second, &[Request::new(SocketType::Udp, &web.v4, 80)]);
    assert!(fixture.counted("drop_direct_access") > 0);
    fixture.assert_clean(&[&web]);
}

/// Time limit for a request that is to be refused.
const NO_REPLY: std::time::Duration = std::time::Duration::from_millis(700);

/// A node with a tunnel to a further host.
struct WithTunnel {
    fixture: Fixture,
    peer: Netns,
    _tunnel: Tunnel,
}

impl WithTunnel {
    fn new(offloads: bool, arguments: &[&str], mtu: u32) -> Self {
        let fixture = Fixture::start(Topology::new(), arguments, "reconcile_s = 600\n");
        let peer = Netns::new("peer");
        // The device appears while the daemon runs.
        let tunnel = Tunnel::between(fixture.host(), &peer, "tun0", offloads);
        for netns in [fixture.host(), &peer] {
            netns.exec(&format!("ip link set tun0 mtu {mtu}"));
        }
        fixture.wait_for("programs at tun0", || role(&fixture, "tun0") != "missing");
        Self {
            fixture,
            peer,
            _tunnel: tunnel,
        }
    }

    #[track_caller]
    fn assert_clean(&self, sandboxes: &[&Sandbox]) {
        self.fixture.assert_clean(sandboxes);
        assert_no_bad_checksums(&self.peer);
    }
}

fn assert_tunnel_serves(offloads: bool) {
    let node = WithTunnel::new(offloads, &[], 1500);
    let (web, _server) = web(&node.fixture);
    assert_eq!(role(&node.fixture, "tun0"), "uplink");
    assert_served(&node.peer, both(Tunnel::HOST), both(Tunnel::PEER));
    node.fixture.cli_ok("port publish web 8081:81");
    let _blobs = peer::serve_blobs(&web.netns, 81);
    for address in both(Tunnel::HOST) {
        peer::exchange(&node.peer, address, 8081, 8);
    }
    node.assert_clean(&[&web]);
}

#[test]
fn class1_tunnel_serves_published_ports() {
    assert_tunnel_serves(true);
}

#[test]
fn class1_tunnel_serves_published_ports_without_offloads() {
    assert_tunnel_serves(false);
}

#[test]
fn class1_tunnel_works_with_filters_and_after_a_restart() {
    let mut node = WithTunnel::new(true, &["--attach=filter"], 1500);
    let (web, _server) = web(&node.fixture);
    let _other = peer::serve(&node.peer, "peer", &["7000"]);
    for arguments in [&["--attach=filter"], &["--attach=auto"]] {
        assert_served(&node.peer, both(Tunnel::HOST), both(Tunnel::PEER));
        assert_leaves(&web, both(Tunnel::PEER), both(Tunnel::HOST));
        node.fixture.daemon.restart_with(arguments);
    }
    assert_served(&node.peer, both(Tunnel::HOST), both(Tunnel::PEER));
    node.assert_clean(&[&web]);
}

fn assert_sandbox_uses_tunnel(offloads: bool) {
    let node = WithTunnel::new(offloads, &["--uplink=tun0"], 1500);
    let (web, _server) = web(&node.fixture);
    let _other = peer::serve(&node.peer, "peer", &["7000"]);
    let _blobs = peer::serve_blobs(&node.peer, 7001);
    let peers: Pair = Tunnel::PEER;
    assert_leaves(&web, both(peers), both(Tunnel::HOST));
    for address in both(peers) {
        peer::exchange(&web.netns, address, 7001, 8);
        assert_eq!(peer::ping(&web.netns, address, 9, 2), 2);
        // The error of the peer's stack is delivered to the socket.
        let closed = Request::new(SocketType::Udp, address, 7002);
        let replies = peer::send_requests_within(&web.netns, &[closed], NO_REPLY);
        let error = replies[0].as_ref().expect_err("closed");
        assert!(error.contains("refused"), "{error}");
        let fragments = format!("ping -q -n -c 2 -i 0.2 -W 2 -M dont -s 4000 {address}");
        web.netns.exec(&fragments);
    }
    node.assert_clean(&[&web]);
}

#[test]
fn class1_sandbox_uses_a_tunnel() {
    assert_sandbox_uses_tunnel(true);
}

#[test]
fn class1_sandbox_uses_a_tunnel_without_offloads() {
    assert_sandbox_uses_tunnel(false);
}

#[test]
fn class1_fragments_at_a_tunnel_are_delivered_in_any_order() {
    let node = WithTunnel::new(true, &[], 1500);
    let (web, server) = web(&node.fixture);
    let program = format!(
        "from scapy.all import *\nconf.verb = 0\nconf.L3socket = L3RawSocket\n\
         for number, order in enumerate([1, -1]):\n\
        \x20   packet = IP(src='{}', dst='{}', id=77 + number) / UDP(sport=5000 + number, dport=8080) / (b'x' * 3000)\n\
        \x20   for one in fragment(packet, fragsize=1000)[::order]:\n\
        \x20       send(one)",
        Tunnel::PEER.0,
        Tunnel::HOST.0
    );
    let received = || server.output().matches("udp 80").count();
    node.peer
        .run(&["/usr/bin/python3", "-c", &program])
        .success();
    node.fixture.wait_for("both datagrams", || received() == 2);
    assert!(node.fixture.counted("replayed_fragments") > 0);
    node.assert_clean(&[&web]);
}

#[test]
fn class1_small_mtu_of_a_tunnel_applies_to_its_routes_only() {
    let node = WithTunnel::new(true, &[], 1280);
    let (web, _server) = web(&node.fixture);
    let found = node.fixture.daemon.json(&["sandbox", "inspect", "web"]);
    assert_eq!(found[0]["endpoints"][0]["mtu"], 1500);
    let _blobs = peer::serve_blobs(&node.peer, 7001);
    for address in both(Tunnel::PEER) {
        peer::upload(&web.netns, address, 7001, 4);
        let (error, mtu) = peer::send_unfragmented(&web.netns, address, 1400);
        assert_eq!(error.as_deref(), Some("Message too long"), "{address}");
        assert_eq!(mtu, Some(1280), "{address}");
    }
    node.assert_clean(&[&web]);
}
