//! Published ports by origin of the client, with the source address that the server sees, and by precedence of entries.

use std::time::Duration;

use netpath_tests::{
    fixture::{
        GATEWAY_A, HOST, LOOPBACK, NETWORK_A, OUTSIDE, PUBLISHED, Service, assert_source_seen, both,
    },
    peer::{self, Request, SocketType},
};

use crate::gate::{Offloads, run_in_parallel};

/// H-1: from outside, from the host by loopback and by its own address, from a sibling, another network, and the
/// sandbox.
pub fn all(offloads: Offloads) {
    let service = Service::on(offloads.fixture());
    let _server = peer::serve(&service.web.netns, "web", &["80"]);
    let (host, outside) = (service.fixture.host(), service.fixture.outside());
    let (sibling, other) = (&service.sibling, &service.other);

    assert_source_seen("outside", outside, both(HOST), both(OUTSIDE));
    assert_source_seen("host by loopback", host, both(LOOPBACK), both(GATEWAY_A));
    assert_source_seen("host by own address", host, both(HOST), both(GATEWAY_A));
    assert_source_seen("sibling", &sibling.netns, both(HOST), sibling.addresses());
    assert_source_seen("other network", &other.netns, both(HOST), other.addresses());
    assert_source_seen("itself", &service.web.netns, both(HOST), both(GATEWAY_A));
    service
        .fixture
        .assert_clean(&[&service.web, sibling, other]);
}

/// U-9, T-8: sandboxes reach a published port of their node, also the publishing sandbox. Data is transferred. The
/// server sees a sibling's own address, and the gateway instead of its own address.
pub fn hairpin(offloads: Offloads) {
    let service = Service::on(offloads.fixture());
    let (sibling, other) = (&service.sibling, &service.other);
    {
        let _server = peer::serve(&service.web.netns, "web", &["80"]);
        assert_source_seen("sibling", &sibling.netns, both(HOST), sibling.addresses());
        assert_source_seen("other network", &other.netns, both(HOST), other.addresses());
        assert_source_seen("itself", &service.web.netns, both(HOST), both(GATEWAY_A));
    }
    let _server = peer::serve_blobs(&service.web.netns, 80);
    for client in [sibling, other, &service.web] {
        for address in both(HOST) {
            peer::exchange(&client.netns, address, PUBLISHED, 4);
        }
    }
    service
        .fixture
        .assert_clean(&[&service.web, sibling, other]);
}

/// H-2: a server sees address and port of a client outside.
pub fn client_address(offloads: Offloads) {
    let fixture = offloads.start(offloads.topology().neighbour(), &[], "");
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let server = peer::serve(&web.netns, "web", &["80"]);
    let neighbour = fixture.topology.neighbour.as_ref().expect("a neighbour");
    for (netns, own) in [
        (fixture.outside(), both(OUTSIDE)),
        (neighbour, ["192.0.2.3", "2001:db8:2::3"]),
    ] {
        for (own, host) in own.into_iter().zip(both(HOST)) {
            for socket_type in SocketType::ALL {
                let reply = peer::send_request(netns, &Request::new(socket_type, host, PUBLISHED));
                assert_eq!(reply.peer, own, "{socket_type:?}: {reply:?}");
                assert_eq!(
                    reply.peer_port, reply.own_port,
                    "{socket_type:?}: {reply:?}"
                );
            }
        }
    }
    let output = server.output();
    assert!(
        !output.contains(GATEWAY_A.0) && !output.contains(HOST.0),
        "{output}"
    );
    fixture.assert_clean(&[&web]);
}

/// H-5: the entry with the most specific address applies, and each protocol has its own entries.
pub fn precedence(offloads: Offloads) {
    run_in_parallel(offloads, &[most_specific, protocols]);
}

fn protocols(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let [tcp, udp] = [("tcp", "7000:80"), ("udp", "7000:80/udp")].map(|(name, publish)| {
        let sandbox = fixture.sandbox(name, "network_a", &[publish]);
        let server = peer::serve(&sandbox.netns, name, &["80"]);
        (sandbox, server)
    });
    for (netns, addresses) in [
        (fixture.outside(), both(HOST)),
        (fixture.host(), both(LOOPBACK)),
    ] {
        for request in peer::tcp_and_udp_requests(addresses, 7000) {
            let expected = request.to_string();
            let reply = peer::send_request(netns, &request);
            assert!(expected.starts_with(&reply.name), "{request}: {reply:?}");
        }
    }
    fixture.assert_clean(&[&tcp.0, &udp.0]);
}

fn most_specific(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.host().exec("ip addr add 192.0.2.9/24 dev eth0");
    fixture
        .host()
        .exec("ip addr add 2001:db8:2::9/64 dev eth0 nodad");
    fixture.network("network_a", NETWORK_A, &[]);
    let own = [
        ("any4", "0.0.0.0:7000-7100:7000-7100"),
        ("host4", "192.0.2.1:7050:7050"),
        ("loop4", "127.0.0.1:7050:7050"),
        ("any6", "[::]:7000-7100:7000-7100"),
        ("host6", "[2001:db8:2::1]:7050:7050"),
        ("loop6", "[::1]:7050:7050"),
    ];
    let servers: Vec<_> = own
        .into_iter()
        .map(|(name, spec)| {
            let udp = format!("{spec}/udp");
            let sandbox = fixture.sandbox(name, "network_a", &[spec, &udp]);
            let server = peer::serve(&sandbox.netns, name, &["7050", "7051"]);
            (sandbox, server)
        })
        .collect();
    let (outside, host) = (fixture.outside(), fixture.host());
    fixture.wait_for("the new addresses are in use", || {
        let probes =
            ["192.0.2.9", "2001:db8:2::9"].map(|to| Request::new(SocketType::Tcp, to, 7050));
        let replies = peer::send_requests_within(outside, &probes, Duration::from_millis(300));
        replies.iter().all(Result::is_ok)
    });
    let client = &servers[0].0.netns;
    for (from, address, port, expected) in [
        (outside, "192.0.2.1", 7050, "host4"),
        (outside, "192.0.2.1", 7051, "any4"),
        (outside, "192.0.2.9", 7050, "any4"),
        (outside, "2001:db8:2::1", 7050, "host6"),
        (outside, "2001:db8:2::1", 7051, "any6"),
        (outside, "2001:db8:2::9", 7050, "any6"),
        (host, "127.0.0.1", 7050, "loop4"),
        (host, "127.0.0.1", 7051, "any4"),
        (host, "127.0.0.2", 7050, "any4"),
        (host, "192.0.2.1", 7050, "host4"),
        (host, "192.0.2.9", 7050, "any4"),
        (host, "::1", 7050, "loop6"),
        (host, "::1", 7051, "any6"),
        (host, "2001:db8:2::1", 7050, "host6"),
        (host, "2001:db8:2::9", 7050, "any6"),
        (client, "192.0.2.1", 7050, "host4"),
        (client, "192.0.2.9", 7050, "any4"),
        (client, "2001:db8:2::1", 7050, "host6"),
        (client, "2001:db8:2::9", 7050, "any6"),
    ] {
        let requests = [SocketType::Tcp, SocketType::SendTo]
            .map(|socket_type| Request::new(socket_type, address, port));
        for (request, reply) in requests.iter().zip(peer::send_requests(from, &requests)) {
            assert_eq!(reply.name, expected, "{request} from {}", from.name());
        }
    }
    let sandboxes: Vec<_> = servers.iter().map(|(sandbox, _)| sandbox).collect();
    fixture.assert_clean(&sandboxes);
}
