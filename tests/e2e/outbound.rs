//! Traffic from a sandbox: the source address and port that the outside sees.

use std::{collections::BTreeSet, thread};

use netpath_tests::{
    Netns,
    fixture::{Fixture, HOST, NETWORK_A, OUTSIDE, Pair, Sandbox, Topology},
    peer::{self, Request, SocketType},
};

/// A destination to which the host has a specific route.
const REMOTE: Pair = ("203.0.113.1", "2001:db8:203::1");

/// Assigns the addresses of [`REMOTE`] to a host.
fn assign_remote_addresses(netns: &Netns) {
    netns.exec(&format!("ip addr add {}/32 dev lo", REMOTE.0));
    netns.exec(&format!("ip addr add {}/128 dev lo nodad", REMOTE.1));
}

/// The outside must see these source addresses, one per family.
#[track_caller]
fn check(sandbox: &Sandbox, to: Pair, seen: [&str; 2]) {
    for socket_type in SocketType::ALL {
        for (address, seen) in [to.0, to.1].into_iter().zip(seen) {
            let request = Request::new(socket_type, address, 7000);
            let reply = peer::send_request(&sandbox.netns, &request);
            assert_eq!(reply.peer, seen, "{request}");
            assert_eq!(reply.from, address, "{request}");
        }
    }
}

#[test]
fn outbound_source_is_the_preferred_address_of_the_route() {
    let fixture = Fixture::new();
    let (host, outside) = (fixture.host(), fixture.outside());
    assign_remote_addresses(outside);
    for address in ["192.0.2.77/24", "192.0.2.78/24"] {
        host.exec(&format!("ip addr add {address} dev eth0"));
    }
    for address in ["2001:db8:2::77/64", "2001:db8:2::78/64"] {
        host.exec(&format!("ip addr add {address} dev eth0 nodad"));
    }
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("client", "network_a", &[]);
    let _server = peer::serve(outside, "outside", &["7000"]);

    host.exec("ip route add 203.0.113.0/24 via 192.0.2.2 src 192.0.2.78");
    host.exec("ip route add 2001:db8:203::/64 via 2001:db8:2::2 src 2001:db8:2::78");
    check(&sandbox, REMOTE, ["192.0.2.78", "2001:db8:2::78"]);
    host.exec("ip route replace 203.0.113.0/24 via 192.0.2.2 src 192.0.2.77");
    host.exec("ip route replace 2001:db8:203::/64 via 2001:db8:2::2 src 2001:db8:2::77");
    check(&sandbox, REMOTE, ["192.0.2.77", "2001:db8:2::77"]);
    let own = peer::send_request(
        &sandbox.netns,
        &Request::new(SocketType::Tcp, OUTSIDE.0, 7000),
    );
    assert_eq!(own.peer, HOST.0, "the first address of the link");
    fixture.assert_clean(&[&sandbox]);
}

#[test]
fn outbound_source_belongs_to_the_uplink_of_the_destination() {
    let topology = Topology::builder().second_uplink().build();
    let fixture = Fixture::start(topology, &["--uplink=eth0", "--uplink=eth1"], "");
    let second = fixture.topology.second.clone().expect("a second uplink");
    assign_remote_addresses(&second);
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("client", "network_a", &[]);
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);
    let _other = peer::serve(&second, "second", &["7000"]);

    let set_remote_routes = |first: bool| {
        let (v4, v6, device) = if first {
            ("192.0.2.2", "2001:db8:2::2", "eth0")
        } else {
            ("198.51.100.2", "2001:db8:51::2", "eth1")
        };
        for route in [
            format!("203.0.113.0/24 via {v4}"),
            format!("2001:db8:203::/64 via {v6}"),
        ] {
            fixture
                .host()
                .exec(&format!("ip route replace {route} dev {device}"));
        }
    };
    set_remote_routes(false);
    check(&sandbox, OUTSIDE, [HOST.0, HOST.1]);
    let second_uplink = ["198.51.100.1", "2001:db8:51::1"];
    check(&sandbox, ("198.51.100.2", "2001:db8:51::2"), second_uplink);
    check(&sandbox, REMOTE, second_uplink);

    assign_remote_addresses(fixture.outside());
    set_remote_routes(true);
    check(&sandbox, REMOTE, [HOST.0, HOST.1]);
    fixture.assert_clean(&[&sandbox]);
}

#[test]
fn pings_with_equal_identifiers_get_their_own_replies() {
    let fixture = Fixture::new();
    fixture.two_networks();
    let first = fixture.sandbox("first", "network_a", &[]);
    let second = fixture.sandbox("second", "network_b", &[]);
    for address in [OUTSIDE.0, OUTSIDE.1] {
        thread::scope(|scope| {
            for sandbox in [&first, &second] {
                scope.spawn(|| {
                    let replies = peer::ping(&sandbox.netns, address, 7, 20);
                    assert_eq!(replies, 20, "{} to {address}", sandbox.name);
                });
            }
        });
    }
    for (protocol, address) in [("icmp", OUTSIDE.0), ("icmpv6", OUTSIDE.1)] {
        let flows = fixture.flows(&["--protocol", protocol, "--address", address]);
        assert_eq!(flows.len(), 2, "{flows:#?}");
    }
    // Pings of the host and pings of sandboxes do not interfere.
    assert_eq!(peer::ping(fixture.host(), OUTSIDE.0, 8, 3), 3);
    assert_eq!(peer::ping(fixture.outside(), HOST.0, 7, 3), 3);
    assert_eq!(peer::ping(fixture.outside(), HOST.1, 7, 3), 3);
    fixture.assert_clean(&[&first, &second]);
}

#[test]
fn sandboxes_with_equal_source_ports_get_distinct_outer_ports() {
    let fixture = Fixture::new();
    fixture.two_networks();
    let sandboxes = [("a", "network_a"), ("b", "network_a"), ("c", "network_b")]
        .map(|(name, network)| fixture.sandbox(name, network, &[]));
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);
    for socket_type in [SocketType::Tcp, SocketType::Udp] {
        for address in [OUTSIDE.0, OUTSIDE.1] {
            let ports = sandboxes.each_ref().map(|sandbox| {
                let request = Request::new(socket_type, address, 7000).source_port(5555);
                let reply = peer::send_request(&sandbox.netns, &request);
                assert_eq!(reply.own_port, 5555);
                reply.peer_port
            });
            let distinct = BTreeSet::from(ports);
            assert_eq!(distinct.len(), 3, "{socket_type:?} {address}: {ports:?}");
            assert!(distinct.contains(&5555), "a free port is kept: {ports:?}");
        }
    }
    let [a, b, c] = &sandboxes;
    fixture.assert_clean(&[a, b, c]);
}
