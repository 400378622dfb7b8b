//! Reachability by network settings.

use netpath_tests::{
    Netns,
    fixture::{Fixture, HOST, NETWORK_A, NETWORK_B, OUTSIDE, Sandbox, add_routes},
    peer::{self, Request, SocketType},
};

#[test]
fn routed_network_is_reached_at_sandbox_addresses_and_published_ports() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &["--gateway-mode", "routed"]);
    fixture.network("network_b", NETWORK_B, &[]);
    let web = fixture.sandbox("web", "network_a", &["80:80", "80:80/udp"]);
    let other = fixture.sandbox("other", "network_b", &[]);
    let _server = peer::serve(&web.netns, "web", &["80", "81"]);
    let outside = fixture.outside();
    add_routes(outside, HOST);
    let _outside = peer::serve(outside, "outside", &["7000"]);

    let check = |from: &Netns, sources: [&str; 2]| {
        for reply in peer::send_requests(from, &peer::tcp_and_udp_requests(web.addresses(), 80)) {
            assert!(sources.contains(&reply.peer.as_str()), "{reply:?}");
            assert!(web.addresses().contains(&reply.from.as_str()), "{reply:?}");
        }
    };
    check(outside, [OUTSIDE.0, OUTSIDE.1]);
    check(&other.netns, other.addresses());
    peer::assert_no_reply(outside, &peer::tcp_and_udp_requests(web.addresses(), 81));
    peer::assert_no_reply(
        &other.netns,
        &peer::tcp_and_udp_requests(web.addresses(), 81),
    );

    for reply in peer::send_requests(
        &web.netns,
        &peer::tcp_and_udp_requests([OUTSIDE.0, OUTSIDE.1], 7000),
    ) {
        assert!(web.addresses().contains(&reply.peer.as_str()), "{reply:?}");
        assert_eq!(reply.peer_port, reply.own_port);
    }
    peer::assert_pings(&web.netns, [OUTSIDE.0, OUTSIDE.1], true);
    fixture.assert_clean(&[&web, &other]);
}

#[test]
fn network_without_masquerade_sends_from_sandbox_addresses() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &["--masquerade", "off"]);
    let client: Sandbox = fixture.sandbox("client", "network_a", &["8080:80"]);
    let _server = peer::serve(&client.netns, "client", &["80", "81"]);
    let outside = fixture.outside();
    add_routes(outside, HOST);
    let _outside = peer::serve(outside, "outside", &["7000"]);

    for reply in peer::send_requests(
        &client.netns,
        &peer::tcp_and_udp_requests([OUTSIDE.0, OUTSIDE.1], 7000),
    ) {
        assert!(
            client.addresses().contains(&reply.peer.as_str()),
            "{reply:?}"
        );
        assert_eq!(reply.peer_port, reply.own_port);
    }
    peer::assert_pings(&client.netns, [OUTSIDE.0, OUTSIDE.1], true);
    peer::send_request(outside, &Request::new(SocketType::Tcp, HOST.0, 8080));
    peer::send_request(outside, &Request::new(SocketType::Tcp, HOST.1, 8080));
    // Only replies are delivered to the sandbox.
    peer::assert_no_reply(outside, &peer::tcp_and_udp_requests(client.addresses(), 81));
    peer::assert_pings(outside, client.addresses(), false);
    fixture.assert_clean(&[&client]);
}
