//! One lookup decides device, next hop and source address, and changes of routes take effect on existing flows.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData};
use netpath_common::maps::{Config, SCHEMA_VERSION};
use netpath_tests::{
    Netns, eventually,
    fixture::{EchoClient, Fixture, NETWORK_A, Pair, Topology, serve_echo},
};

/// Addresses that both routers have: the host reaches them through either uplink.
const FAR: Pair = ("203.0.113.9", "2001:db8:113::9");
/// Addresses of the host on both uplinks, and of the routers on these links.
const FIRST: Pair = ("192.0.2.1", "2001:db8:2::1");
const SECOND: Pair = ("198.51.100.1", "2001:db8:51::1");
const FIRST_ROUTER: Pair = ("192.0.2.2", "2001:db8:2::2");
const SECOND_ROUTER: Pair = ("198.51.100.2", "2001:db8:51::2");

fn both(pair: Pair) -> [&'static str; 2] {
    [pair.0, pair.1]
}

/// A host with two uplinks. The default routes lead to the first router; those to the second one have a larger metric.
fn two_uplinks() -> Fixture {
    let topology = Topology::builder().second_uplink().build();
    let second = topology.second.clone().expect("second");
    for (netns, router) in [(&topology.outside, FIRST), (&second, SECOND)] {
        for (far, back) in both(FAR).into_iter().zip(both(router)) {
            let length = if far.contains(':') { 128 } else { 32 };
            netns.exec(&format!("ip addr add {far}/{length} dev lo"));
            // Replies to the host's other addresses leave through the host as well.
            netns.exec(&format!("ip route add default via {back}"));
        }
    }
    for router in both(SECOND_ROUTER) {
        topology
            .host
            .exec(&format!("ip route add default via {router} metric 4000"));
    }
    let fixture = Fixture::on(topology);
    fixture.network("network_a", NETWORK_A, &[]);
    fixture
}

fn second(fixture: &Fixture) -> Netns {
    fixture.topology.second.clone().expect("second")
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port)
}

/// A UDP server that sends the source address of each datagram back, with the name of the server.
fn serve_source(netns: &Netns, address: &str, name: &'static str) {
    let socket = netns.enter(|| UdpSocket::bind(at(address, 9000)).expect("bind"));
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
        }
    });
}

/// A UDP socket in a namespace that sends to [`FAR`].
struct Client(UdpSocket);

impl Client {
    fn new(netns: &Netns, far: &str) -> Self {
        let socket = datagrams(netns, far, 0, Duration::from_millis(200));
        socket.connect(at(far, 9000)).expect("connect");
        Self(socket)
    }

    /// Which server replies, and the source address that it sees.
    fn ask(&self) -> Option<String> {
        let mut buffer = [0; 64];
        self.0.send(b"?").ok()?;
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[track_caller]
    fn expect(&self, expected: &str) {
        eventually(expected, 10, || self.ask().as_deref() == Some(expected));
    }
}

/// Routes packets from these sources, one of each family, through the second router.
fn route_by_second(host: &Netns, sources: [&str; 2]) {
    for (source, router) in sources.into_iter().zip(both(SECOND_ROUTER)) {
        let family = if source.contains(':') { "-6" } else { "-4" };
        host.exec(&format!("ip {family} rule add from {source} table 100"));
        host.exec(&format!(
            "ip {family} route add default via {router} table 100"
        ));
    }
}

/// A UDP socket of the family of `peer`, bound to a port, that waits for a datagram at most this time.
fn datagrams(netns: &Netns, peer: &str, port: u16, limit: Duration) -> UdpSocket {
    let any = if peer.contains(':') { "::" } else { "0.0.0.0" };
    let socket = netns.enter(|| UdpSocket::bind(at(any, port)).expect("bind"));
    socket.set_read_timeout(Some(limit)).expect("timeout");
    socket
}

fn fail_over(fixture: &Fixture) {
    for router in both(FIRST_ROUTER) {
        fixture
            .host()
            .exec(&format!("ip route del default via {router}"));
    }
}

#[test]
fn udp_flow_gets_the_source_address_of_the_uplink_after_failover() {
    let fixture = two_uplinks();
    let sandbox = fixture.sandbox("a", "network_a", &[]);
    let clients = both(FAR).map(|far| {
        serve_source(fixture.outside(), far, "first");
        serve_source(&second(&fixture), far, "second");
        Client::new(&sandbox.netns, far)
    });
    for (client, address) in clients.iter().zip(both(FIRST)) {
        client.expect(&format!("first {address}"));
    }
    fail_over(&fixture);
    for (client, address) in clients.iter().zip(both(SECOND)) {
        client.expect(&format!("second {address}"));
    }
    fixture.assert_clean(&[&sandbox]);
}

#[test]
fn udp_flow_fails_over_without_a_daemon() {
    let mut fixture = two_uplinks();
    let sandbox = fixture.sandbox("a", "network_a", &[]);
    let clients = both(FAR).map(|far| {
        serve_source(fixture.outside(), far, "first");
        serve_source(&second(&fixture), far, "second");
        Client::new(&sandbox.netns, far)
    });
    for (client, address) in clients.iter().zip(both(FIRST)) {
        client.expect(&format!("first {address}"));
    }
    fixture.daemon.kill9();
    fail_over(&fixture);
    for (client, address) in clients.iter().zip(both(SECOND)) {
        client.expect(&format!("second {address}"));
    }
    fixture.daemon.restart();
    fixture.assert_clean(&[&sandbox]);
}

/// The peer does not know the connection from its new source address and resets it.
#[test]
fn tcp_connection_is_reset_after_failover() {
    let fixture = two_uplinks();
    let sandbox = fixture.sandbox("a", "network_a", &[]);
    serve_echo(fixture.outside(), 7000, "first");
    let mut streams = both(FAR).map(|far| {
        sandbox
            .netns
            .enter(|| TcpStream::connect(at(far, 7000)).expect("connect"))
    });
    fail_over(&fixture);
    for stream in &mut streams {
        let timeout = Some(Duration::from_secs(10));
        stream.set_read_timeout(timeout).expect("timeout");
        let start = Instant::now();
        let error = loop {
            let mut buffer = [0; 64];
            let result = stream
                .write_all(b"data\n")
                .and_then(|()| stream.read(&mut buffer));
            match result {
                Err(error) => break error,
                Ok(0) => panic!("the connection ended without an error"),
                Ok(_) => assert!(start.elapsed() < Duration::from_secs(10), "still open"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        let kind = error.kind();
        assert!(
            matches!(
                kind,
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            ),
            "{error}"
        );
    }
    fixture.assert_clean(&[&sandbox]);
}

#[test]
fn rule_for_the_subnet_decides_uplink_and_source_address() {
    let fixture = two_uplinks();
    let sandbox = fixture.sandbox("a", "network_a", &[]);
    route_by_second(fixture.host(), both(NETWORK_A));
    for (far, address) in both(FAR).into_iter().zip(both(SECOND)) {
        serve_source(fixture.outside(), far, "first");
        serve_source(&second(&fixture), far, "second");
        Client::new(&sandbox.netns, far).expect(&format!("second {address}"));
        serve_large(&fixture, far);
        large_datagram_leaves_by_second(&sandbox.netns, far, address);
    }
    fixture.assert_clean(&[&sandbox]);
}

const LARGE: usize = 4000;
const LARGE_LIMIT: Duration = Duration::from_secs(4);

/// A UDP server on the second router that sends the size and the source of a datagram back.
fn serve_large(fixture: &Fixture, far: &str) {
    let socket = second(fixture).enter(|| UdpSocket::bind(at(far, 9001)).expect("bind"));
    thread::spawn(move || {
        let mut buffer = [0; 2 * LARGE];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{length} {}", from.ip()).as_bytes(), from);
        }
    });
}

/// Every fragment of a datagram takes the same route.
fn large_datagram_leaves_by_second(netns: &Netns, far: &str, address: &str) {
    let socket = datagrams(netns, far, 0, LARGE_LIMIT);
    socket.send_to(&[7; LARGE], at(far, 9001)).expect("send");
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).expect("a reply");
    let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert_eq!(reply, format!("{LARGE} {address}"));
}

/// The client is reached through the first router by the main table. With source routing, the reply leaves by the uplink whose
/// address the client used.
#[test]
fn reply_leaves_by_the_uplink_that_the_client_used() {
    let fixture = two_uplinks();
    let sandbox = fixture.sandbox("web", "network_a", &["8080:80", "8081:81/udp"]);
    serve_echo(&sandbox.netns, 80, "web");
    route_by_second(fixture.host(), both(SECOND));
    for (far, address) in both(FAR).into_iter().zip(both(SECOND)) {
        let client = second(&fixture);
        client.exec(&format!("ip route replace {address} dev eth0 src {far}"));
        let line = client.enter(|| EchoClient::connect(&at(address, 8080).to_string()));
        let mut line = line.expect("a connection through the second uplink");
        line.exchange_line();
        assert_eq!(line.server, "web");
        assert!(line.seen_as.contains(far), "{}", line.seen_as);
        large_reply_arrives(&sandbox.netns, &client, address);
    }
    fixture.assert_clean(&[&sandbox]);
}

fn large_reply_arrives(server: &Netns, client: &Netns, address: &str) {
    let socket = datagrams(server, address, 81, LARGE_LIMIT);
    thread::spawn(move || {
        let mut buffer = [0; 64];
        let (_, from) = socket.recv_from(&mut buffer).expect("a request");
        socket.send_to(&[7; LARGE], from).expect("a reply");
    });
    let socket = datagrams(client, address, 0, LARGE_LIMIT);
    socket.send_to(b"?", at(address, 8081)).expect("send");
    let mut buffer = [0; 2 * LARGE];
    assert_eq!(socket.recv(&mut buffer).expect("a large reply"), LARGE);
}

/// A client in the second network of a server reaches the server's port, which is published in the first network.
#[test]
fn server_in_two_networks_is_reached_from_its_second_network() {
    let fixture = Fixture::new();
    fixture.two_networks();
    let server = fixture.sandbox("server", "network_a", &["8080:80"]);
    fixture.cli_ok("network connect network_b server");
    let client = fixture.sandbox("client", "network_b", &[]);
    serve_echo(&server.netns, 80, "server");
    for address in both(FIRST) {
        let line = client
            .netns
            .enter(|| EchoClient::connect(&at(address, 8080).to_string()));
        let mut line = line.expect("a connection");
        line.exchange_line();
        assert_eq!(line.server, "server");
    }
    fixture.assert_clean(&[&client]);
}

/// The default route of the server leads through its first network; the port is published in the second one.
#[test]
fn client_outside_reaches_server_whose_default_route_is_in_another_network() {
    let fixture = Fixture::new();
    fixture.two_networks();
    let server = fixture.sandbox("server", "network_b", &["8080:80"]);
    fixture.cli_ok("network connect network_a server");
    // Without this the sandbox replies through the network in which the port is published.
    for (network, gateway) in [("-4", "10.88.0.1"), ("-6", "fd00:88::1")] {
        let device = "eth1";
        server.netns.exec(&format!(
            "ip {network} route replace default via {gateway} dev {device}"
        ));
    }
    serve_echo(&server.netns, 80, "server");
    for address in both(FIRST) {
        let line = fixture
            .outside()
            .enter(|| EchoClient::connect(&at(address, 8080).to_string()));
        let mut line = line.expect("a connection");
        line.exchange_line();
        assert_eq!(line.server, "server");
    }
    assert_eq!(fixture.counted("drop_spoofed"), 0);
    fixture.assert_clean(&[&server]);
}

/// The time of the last change of routes in the map `config`.
fn routes_changed(fixture: &Fixture) -> u64 {
    let pin = fixture
        .daemon
        .bpf_dir()
        .join(format!("maps-v{SCHEMA_VERSION}"))
        .join("config");
    let map = MapData::from_pin(pin).expect("the map");
    let config = Array::<_, Config>::try_from(Map::Array(map)).expect("an array");
    config.get(&0, 0).expect("the settings").routes_changed
}

/// Every kind of change makes flows look up their routes again.
#[test]
fn changes_of_rules_addresses_links_and_routes_invalidate_decisions() {
    let fixture = two_uplinks();
    let changes = [
        "ip rule add from 10.99.0.0/16 table 99",
        "ip rule del from 10.99.0.0/16 table 99",
        "ip -6 rule add from fd00:99::/64 table 99",
        "ip addr add 192.0.2.77/24 dev eth0",
        "ip addr del 192.0.2.77/24 dev eth0",
        "ip addr add 2001:db8:2::77/64 dev eth0 nodad",
        "ip link set eth1 mtu 1400",
        "ip link add name extra type veth peer name extra-peer",
        "ip link set eth1 down",
        "ip route add 203.0.113.128/25 via 192.0.2.2",
        "ip -6 route add 2001:db8:99::/64 via 2001:db8:2::2",
    ];
    for change in changes {
        // Changes of routes within a quarter of a second are reported together.
        thread::sleep(Duration::from_millis(300));
        let before = routes_changed(&fixture);
        fixture.host().exec(change);
        fixture.wait_for(change, || routes_changed(&fixture) > before);
    }
}
