//! Each outer port belongs to a socket of the node, to a published port, or to a flow from a sandbox.

use std::thread;

use netpath_tests::{
    Netns,
    fixture::{Fixture, HOST, NETWORK_A, OUTSIDE},
    peer::{self, Request, SocketType},
};

use crate::{datagrams::Datagrams, gate::Offloads};

/// a flow from a sandbox never uses a port of a host socket or a published port, and does not keep a port
/// that is published later.
pub fn used_ports(offloads: Offloads) {
    let fixture = offloads.fixture();
    unused_ports(&fixture);
    shadowing(&fixture);
    published_later(&fixture);
    concurrent_with_the_host(&fixture);
    fixture.assert_clean(&[]);
}

/// A sandbox that sends from the port of a service does not receive packets for the service.
fn shadowing(fixture: &Fixture) {
    let attacker = fixture.sandbox("attacker", "network_a", &[]);
    let owner = fixture.sandbox("owner", "network_a", &["5400:5400/udp"]);
    for (address, outside) in [(HOST.0, OUTSIDE.0), (HOST.1, OUTSIDE.1)] {
        let client = Datagrams::bind(fixture.outside(), outside, 41_404);
        for (port, netns) in [(5300, fixture.host()), (5400, &owner.netns)] {
            let service = Datagrams::bind(netns, "::", port);
            let attacker_socket = Datagrams::bind(&attacker.netns, "::", port);
            attacker_socket.send((outside, 41_404), "mine");
            let (_, seen) = client.receive("the attacker's own");
            assert_ne!(seen, port, "the port of a service");
            client.send((address, port), "service?");
            assert_eq!(service.receive("a request").0, "service?");
            attacker_socket.assert_silent();
        }
    }
}

/// A port that is published while a flow from a sandbox uses it then belongs to the publishing sandbox.
fn published_later(fixture: &Fixture) {
    let holder = fixture.sandbox("holder", "network_a", &[]);
    let late = fixture.sandbox("late", "network_a", &[]);
    for (number, (host, outside)) in [(HOST.0, OUTSIDE.0), (HOST.1, OUTSIDE.1)]
        .into_iter()
        .enumerate()
    {
        let port = 5500 + u16::try_from(number).expect("small");
        let client = Datagrams::bind(fixture.outside(), outside, 41_405);
        let old = Datagrams::bind(&holder.netns, "::", port);
        old.send((outside, 41_405), "before");
        assert_eq!(
            client.receive("the datagram of the first sandbox").1,
            port,
            "a free port is kept"
        );
        client.send((host, port), "reply");
        assert_eq!(old.receive("the reply").0, "reply");
        let publish = format!("{port}:{port}/udp");
        let command = ["port", "publish", "late", &publish];
        fixture.daemon.cli(&command).success();
        let service = Datagrams::bind(&late.netns, "::", port);
        client.send((host, port), "request");
        assert_eq!(service.receive("the request").0, "request", "{host}");
        old.assert_silent();
        // The other flow continues from another port.
        old.send((outside, 41_405), "after");
        let (text, seen) = client.receive("the later datagram of the first sandbox");
        assert_eq!(text, "after");
        assert_ne!(seen, port, "published");
    }
}

/// Connections of the node and of a sandbox to one server, at the same time.
fn concurrent_with_the_host(fixture: &Fixture) {
    let sandbox = fixture.sandbox("busy", "network_a", &[]);
    let _server = peer::serve(fixture.outside(), "server", &["7001"]);
    let connect_repeatedly = |netns: &Netns| {
        for address in [OUTSIDE.0, OUTSIDE.1] {
            for socket_type in [SocketType::Tcp, SocketType::Udp] {
                let many: Vec<_> = (0..60)
                    .map(|_| Request::new(socket_type, address, 7001))
                    .collect();
                peer::send_requests(netns, &many);
            }
        }
    };
    thread::scope(|scope| {
        for netns in [fixture.host(), &sandbox.netns] {
            scope.spawn(|| connect_repeatedly(netns));
        }
    });
}

/// Ports that are used, and ports below 1024, which are reserved for the host.
fn unused_ports(fixture: &Fixture) {
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("client", "network_a", &["8081:80", "8081:80/udp"]);
    fixture.sandbox("range", "network_a", &["9000-9100:9000-9100/tcp"]);
    let _listener = peer::serve(fixture.host(), "host", &["9999"]);
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);

    let unavailable = [80, 1023, 8081, 9050, 9999];
    for socket_type in [SocketType::Tcp, SocketType::Udp] {
        for address in [OUTSIDE.0, OUTSIDE.1] {
            let request_to = |port| Request::new(socket_type, address, 7000).source_port(port);
            for (port, reply) in unavailable.into_iter().zip(peer::send_requests(
                &sandbox.netns,
                &unavailable.map(request_to),
            )) {
                let seen = reply.peer_port;
                let free_for_udp = socket_type == SocketType::Udp && port == 9050;
                assert!(
                    seen != port || free_for_udp,
                    "{socket_type:?} {address}: {port} is unavailable to SNAT"
                );
            }
            for free in [1024, 20_000, 61_500, 65_535] {
                let reply = peer::send_request(&sandbox.netns, &request_to(free));
                assert_eq!(reply.peer_port, free);
            }

            let many: Vec<Request> = (0..60)
                .map(|_| Request::new(socket_type, address, 7000))
                .collect();
            for reply in peer::send_requests(&sandbox.netns, &many) {
                let seen = reply.peer_port;
                assert!(seen >= 1024, "{socket_type:?}: {seen}");
                assert!(seen != 8081 && seen != 9999, "{socket_type:?}: {seen}");
                assert!(
                    socket_type == SocketType::Udp || !(9000..=9100).contains(&seen),
                    "{seen}"
                );
            }
        }
    }
    fixture.assert_clean(&[&sandbox]);
}
