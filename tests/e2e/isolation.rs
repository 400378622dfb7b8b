//! Reachability by network settings.

use netpath_tests::{
    Netns,
    fixture::{Fixture, HOST, NETWORK_A, NETWORK_B, OUTSIDE, Sandbox, add_routes},
    peer::{self, How, Question},
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
        for answer in peer::ask_all(from, &peer::both_ways(web.addresses(), 80)) {
            assert!(sources.contains(&answer.peer.as_str()), "{answer:?}");
            assert!(
                web.addresses().contains(&answer.from.as_str()),
                "{answer:?}"
            );
        }
    };
    check(outside, [OUTSIDE.0, OUTSIDE.1]);
    check(&other.netns, other.addresses());
    peer::assert_no_answer(outside, &peer::both_ways(web.addresses(), 81));
    peer::assert_no_answer(&other.netns, &peer::both_ways(web.addresses(), 81));

    for answer in peer::ask_all(&web.netns, &peer::both_ways([OUTSIDE.0, OUTSIDE.1], 7000)) {
        assert!(
            web.addresses().contains(&answer.peer.as_str()),
            "{answer:?}"
        );
        assert_eq!(answer.peer_port, answer.own_port);
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

    for answer in peer::ask_all(
        &client.netns,
        &peer::both_ways([OUTSIDE.0, OUTSIDE.1], 7000),
    ) {
        assert!(
            client.addresses().contains(&answer.peer.as_str()),
            "{answer:?}"
        );
        assert_eq!(answer.peer_port, answer.own_port);
    }
    peer::assert_pings(&client.netns, [OUTSIDE.0, OUTSIDE.1], true);
    peer::ask(outside, &Question::new(How::Tcp, HOST.0, 8080));
    peer::ask(outside, &Question::new(How::Tcp, HOST.1, 8080));
    // Only replies are delivered to the sandbox.
    peer::assert_no_answer(outside, &peer::both_ways(client.addresses(), 81));
    peer::assert_pings(outside, client.addresses(), false);
    fixture.assert_clean(&[&client]);
}
