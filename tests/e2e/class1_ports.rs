//! Which ports belong to the node, to a sandbox, or to another NAT of the node.

use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath_tests::{
    Netns,
    fixture::{
        EchoClient, Fixture, GATEWAY_A, HOST, LOOPBACK, NETWORK_A, OUTSIDE, Sandbox, Topology,
        serve_echo,
    },
    peer::{self, Request, SocketType},
};

const TIMEOUT: Duration = Duration::from_secs(4);

/// The addresses of host and outside, for each family.
const FAMILIES: [(&str, &str); 2] = [(HOST.0, OUTSIDE.0), (HOST.1, OUTSIDE.1)];

/// A UDP socket of a process outside the host's cgroup.
#[track_caller]
fn bind(netns: &Netns, address: &str, port: u16) -> UdpSocket {
    let address: IpAddr = address.parse().expect("an address");
    let socket = netns.enter(|| UdpSocket::bind((address, port)));
    let socket = socket.unwrap_or_else(|error| panic!("{address} port {port}: {error}"));
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    socket
}

/// Sends a datagram to a socket; returns the source that it sees.
#[track_caller]
fn send(from: &UdpSocket, to: &UdpSocket, address: &str, port: u16) -> (IpAddr, u16) {
    let address: IpAddr = address.parse().expect("an address");
    let text = format!("{address} {port} {:?}", from.local_addr());
    from.send_to(text.as_bytes(), (address, port))
        .expect("send");
    let mut buffer = [0; 1_000];
    let (length, source) = to
        .recv_from(&mut buffer)
        .unwrap_or_else(|error| panic!("{text} is not received: {error}"));
    assert_eq!(buffer.get(..length), Some(text.as_bytes()));
    (source.ip(), source.port())
}

#[test]
fn class1_own_published_port_is_used_in_both_directions() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let ports = [
        "5060:5060/udp",
        "5071:5070/udp",
        "6000-6009:7000-7009/udp",
        "4443:443",
    ];
    let phone = fixture.sandbox("phone", "network_a", &ports);
    let other = fixture.sandbox("other", "network_a", &[]);
    for (host, outside) in FAMILIES {
        let any = if host.contains(':') { "::" } else { "0.0.0.0" };
        let server = bind(fixture.outside(), outside, 5060);
        for (inner, outer) in [(5060, 5060), (5070, 5071), (7003, 6003)] {
            let own = bind(&phone.netns, any, inner);
            assert_eq!(send(&own, &server, outside, 5060).1, outer);
            assert_eq!(send(&server, &own, host, outer).1, 5060);
            // A peer to which the sandbox has not sent.
            let stranger = bind(fixture.outside(), outside, 5090);
            assert_eq!(send(&stranger, &own, host, outer).1, 5090);
            let foreign = bind(&other.netns, any, outer);
            assert_ne!(send(&foreign, &server, outside, 5060).1, outer);
        }
        let _server = peer::serve(fixture.outside(), "server", &["7000"]);
        let request = Request::new(SocketType::Tcp, outside, 7000).source_port(443);
        assert_eq!(peer::send_request(&phone.netns, &request).peer_port, 4443);
    }
    fixture.cli_ok("port unpublish phone 5071:5070/udp");
    let server = bind(fixture.outside(), OUTSIDE.0, 5061);
    let own = bind(&phone.netns, "0.0.0.0", 5070);
    assert_eq!(send(&own, &server, OUTSIDE.0, 5061).1, 5070);
    fixture.assert_clean(&[&phone, &other]);
}

#[test]
fn class1_own_published_port_survives_a_restart_and_repair() {
    let mut fixture = Fixture::with_fast_reconcile();
    fixture.network("network_a", NETWORK_A, &[]);
    let phone = fixture.sandbox("phone", "network_a", &["5061:5060/udp"]);
    let own = bind(&phone.netns, "::", 5060);
    let check = |fixture: &Fixture, port| {
        let server = bind(fixture.outside(), OUTSIDE.1, port);
        assert_eq!(send(&own, &server, OUTSIDE.1, port).1, 5061);
    };
    check(&fixture, 5060);
    fixture.daemon.kill9();
    check(&fixture, 5062);
    fixture.daemon.restart();
    check(&fixture, 5063);
    fixture.cli_ok("sandbox rm phone");
    let mut found = fixture.json("map ls");
    let maps = found.as_array_mut().expect("maps");
    let own_ports = maps.iter().find(|map| map["name"] == "own_ports");
    assert_eq!(own_ports.expect("own_ports")["entries"], 0);
}

/// Source ports are chosen although the node may use every port.
#[test]
fn class1_wide_port_range_of_the_node_leaves_ports_for_sandboxes() {
    let topology = Topology::new();
    topology
        .host
        .sysctl("net/ipv4/ip_local_port_range", "1024 65535");
    let fixture = Fixture::on(topology);
    assert_eq!(fixture.status()["degraded"], serde_json::json!([]));
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("client", "network_a", &["8081:80", "8081:80/udp"]);
    let other = fixture.sandbox("other", "network_a", &[]);
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);
    let _listener = peer::serve(fixture.host(), "host", &["9999"]);
    for socket_type in SocketType::ALL {
        for address in [OUTSIDE.0, OUTSIDE.1] {
            let request = |port| Request::new(socket_type, address, 7000).source_port(port);
            let seen = |sandbox: &Sandbox, port| {
                peer::send_request(&sandbox.netns, &request(port)).peer_port
            };
            assert_eq!(seen(&sandbox, 40_000), 40_000, "a free port is kept");
            assert_ne!(seen(&other, 40_000), 40_000, "used by a flow");
            assert_ne!(seen(&other, 8081), 8081, "published");
            assert_ne!(seen(&other, 9999), 9999, "used by a listener");
            assert!(seen(&other, 80) >= 1024, "left to the node");
            let many: Vec<_> = (0..30)
                .map(|_| Request::new(socket_type, address, 7000))
                .collect();
            peer::send_requests(&sandbox.netns, &many);
            peer::send_requests(fixture.host(), &many);
        }
    }
    fixture.assert_clean(&[&sandbox, &other]);
}

/// Replies to the node's own unconnected sockets, while every automatic port is published.
#[test]
fn class1_replies_to_the_node_are_not_delivered_to_a_wide_published_range() {
    let fixture = Fixture::new();
    fixture
        .host()
        .sysctl("net/ipv4/ip_local_port_range", "40000 40999");
    fixture.network("network_a", NETWORK_A, &[]);
    let ports = ["40000-49999:40000-49999/udp", "40000-49999:40000-49999/tcp"];
    let game = fixture.sandbox("game", "network_a", &ports);
    let resolver = fixture.sandbox("resolver", "network_a", &[]);
    let _server = peer::serve(fixture.outside(), "outside", &["53"]);
    let _local = peer::serve(fixture.host(), "local", &["54"]);
    let _inside = peer::serve(&resolver.netns, "inside", &["55"]);
    let _game = peer::serve(&game.netns, "game", &["45000"]);
    for socket_type in SocketType::ALL {
        for family in 0..2 {
            let pick = |(v4, v6): (&str, &str)| [v4, v6][family].to_owned();
            let inside = resolver.addresses()[family].to_owned();
            let targets = [
                (pick(OUTSIDE), 53),
                (pick(LOOPBACK), 54),
                (pick(HOST), 54),
                (inside, 55),
            ];
            for (address, port) in targets {
                let many: Vec<_> = (0..20)
                    .map(|_| Request::new(socket_type, &address, port))
                    .collect();
                for reply in peer::send_requests(fixture.host(), &many) {
                    assert!((40_000..=40_999).contains(&reply.own_port), "{reply:?}");
                }
            }
            // The published range still serves its clients.
            let request = Request::new(socket_type, &pick(HOST), 45_000);
            assert_eq!(peer::send_request(fixture.outside(), &request).name, "game");
            assert_eq!(peer::send_request(fixture.host(), &request).name, "game");
        }
    }
    fixture.assert_clean(&[&game, &resolver]);
}

/// A virtual machine behind another NAT of the host, and a sandbox, send from one port to one server.
#[test]
fn class1_tuple_of_another_nat_is_not_given_to_a_sandbox() {
    let fixture = Fixture::new();
    let (host, machine) = (fixture.host(), Netns::new("vm"));
    connect_machine(&machine, host);
    let rules = "table inet vm { chain post { type nat hook postrouting priority srcnat; \
                 ip saddr 192.168.122.0/24 oifname eth0 masquerade; \
                 ip6 saddr fd00:122::/64 oifname eth0 masquerade; }\n}";
    host.run(&["nft", rules]).success();
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("client", "network_a", &[]);
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);
    for (number, (host_address, outside)) in (0..).zip(FAMILIES) {
        let any = if outside.contains(':') {
            "::"
        } else {
            "0.0.0.0"
        };
        let port = 33_000 + number;
        let server = bind(fixture.outside(), outside, 5_300);
        let first = bind(&machine, any, port);
        assert_eq!(send(&first, &server, outside, 5_300).1, port, "masqueraded");
        let second = bind(&sandbox.netns, any, port);
        let seen = send(&second, &server, outside, 5_300).1;
        assert_ne!(seen, port, "the port of the virtual machine");
        send(&server, &second, host_address, seen);
        send(&server, &first, host_address, port);
        let request = Request::new(SocketType::Tcp, outside, 7000).source_port(34_000);
        let seen = |netns| peer::send_request(netns, &request).peer_port;
        assert_eq!(seen(&machine), 34_000);
        assert_ne!(seen(&sandbox.netns), 34_000);
        assert_eq!(peer::ping(&machine, outside, 4_711, 3), 3);
        assert_eq!(peer::ping(&sandbox.netns, outside, 4_711, 3), 3);
        assert_eq!(peer::ping(&machine, outside, 4_711, 3), 3);
    }
    assert!(fixture.counted("pass_foreign_nat") > 0);
    let tracked = host.exec("cat /proc/net/nf_conntrack");
    assert!(!tracked.contains(&sandbox.v4), "{tracked}");
}

/// Connects the namespace of a virtual machine to a host.
fn connect_machine(machine: &Netns, host: &Netns) {
    let path = machine.path();
    host.exec(&format!(
        "ip link add name vm0 type veth peer name vm1 netns {}",
        path.display()
    ));
    for (netns, device, number) in [(host, "vm0", 1), (machine, "vm1", 2)] {
        netns.exec(&format!("ip link set {device} up"));
        netns.exec(&format!("ip addr add 192.168.122.{number}/24 dev {device}"));
        netns.exec(&format!(
            "ip addr add fd00:122::{number}/64 dev {device} nodad"
        ));
    }
    machine.exec("ip route add default via 192.168.122.1");
    machine.exec("ip route add default via fd00:122::1");
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        host.sysctl(key, "1");
    }
}

/// The node connects to a sandbox with the tuple of a connection from that sandbox to its own published port.
#[test]
fn class1_connection_of_the_node_to_a_sandbox_gets_another_port() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80"]);
    serve_echo(&web.netns, 80, "web");
    let families = [GATEWAY_A.0, GATEWAY_A.1].into_iter().zip(web.addresses());
    for (port, (gateway, own)) in (23_000..).zip(families) {
        let connect = |netns: &Netns, address: &str, to| {
            let address: IpAddr = address.parse().expect("an address");
            let client = netns.enter(|| EchoClient::connect_from_port(port, (address, to).into()));
            client.unwrap_or_else(|error| panic!("{address} port {to}: {error}"))
        };
        let mut hairpin = connect(&web.netns, gateway, 8080);
        let mut direct = connect(fixture.host(), own, 80);
        for _ in 0..3 {
            hairpin.exchange_line();
            direct.exchange_line();
        }
        assert_eq!(hairpin.seen_as, direct.seen_as, "the address of the node");
    }
    fixture.assert_clean(&[&web]);
}
