//! Isolation between networks.

use netpath_tests::{
    fixture::{GATEWAY_A, HOST, NETWORK_A, NETWORK_B, OUTSIDE},
    peer,
};

use crate::gate::{Offloads, run_in_parallel};

/// H-6: networks reach each other only through published ports, internal networks reach nothing outside, and without
/// `icc` siblings do not reach each other.
pub fn networks(offloads: Offloads) {
    run_in_parallel(offloads, &[published_ports_only, internal, without_icc]);
}

fn published_ports_only(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.two_networks();
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let sibling = fixture.sandbox("sibling", "network_a", &[]);
    let other = fixture.sandbox("other", "network_b", &[]);
    let _server = peer::serve(&web.netns, "web", &["80", "81"]);

    for reply in peer::send_requests(
        &sibling.netns,
        &peer::tcp_and_udp_requests(web.addresses(), 81),
    ) {
        assert!(
            sibling.addresses().contains(&reply.peer.as_str()),
            "{reply:?}"
        );
    }
    peer::assert_pings(&sibling.netns, web.addresses(), true);
    peer::send_requests(
        &other.netns,
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );

    let before = fixture.counted("drop_isolated");
    let requests = [80, 81].map(|port| peer::tcp_and_udp_requests(web.addresses(), port));
    peer::assert_no_reply(&other.netns, &requests.concat());
    peer::assert_pings(&other.netns, web.addresses(), false);
    peer::assert_pings(&web.netns, other.addresses(), false);
    assert!(fixture.counted("drop_isolated") - before >= 12);
    fixture.assert_clean(&[&web, &sibling, &other]);
}

fn internal(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &["--internal"]);
    fixture.network("network_b", NETWORK_B, &[]);
    let inner = fixture.sandbox("inner", "network_a", &[]);
    let sibling = fixture.sandbox("sibling", "network_a", &[]);
    let other = fixture.sandbox("other", "network_b", &["8080:80"]);
    let _server = peer::serve(&inner.netns, "inner", &["80"]);
    let _outside = peer::serve(fixture.outside(), "outside", &["7000"]);
    let _host = peer::serve(fixture.host(), "host", &["7777"]);
    let _other = peer::serve(&other.netns, "other", &["80"]);

    peer::send_requests(
        &sibling.netns,
        &peer::tcp_and_udp_requests(inner.addresses(), 80),
    );
    peer::send_requests(
        &inner.netns,
        &peer::tcp_and_udp_requests([GATEWAY_A.0, GATEWAY_A.1], 7777),
    );
    peer::assert_pings(&inner.netns, [GATEWAY_A.0, GATEWAY_A.1], true);
    peer::send_requests(
        &other.netns,
        &peer::tcp_and_udp_requests([OUTSIDE.0, OUTSIDE.1], 7000),
    );

    peer::assert_no_reply(
        &inner.netns,
        &peer::tcp_and_udp_requests([OUTSIDE.0, OUTSIDE.1], 7000),
    );
    peer::assert_pings(&inner.netns, [OUTSIDE.0, OUTSIDE.1], false);
    peer::assert_no_reply(
        &inner.netns,
        &peer::tcp_and_udp_requests(other.addresses(), 80),
    );
    peer::assert_no_reply(
        &other.netns,
        &peer::tcp_and_udp_requests(inner.addresses(), 80),
    );
    // The same with a default route.
    inner
        .netns
        .exec(&format!("ip route replace default via {}", GATEWAY_A.0));
    inner
        .netns
        .exec(&format!("ip route replace default via {}", GATEWAY_A.1));
    let before = fixture.counted("drop_internal");
    peer::assert_no_reply(
        &inner.netns,
        &peer::tcp_and_udp_requests([OUTSIDE.0, OUTSIDE.1], 7000),
    );
    peer::assert_pings(&inner.netns, [OUTSIDE.0, OUTSIDE.1], false);
    peer::assert_no_reply(
        &inner.netns,
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    assert!(fixture.counted("drop_internal") > before);

    // The command may fail or have no effect; the sandbox stays unreachable.
    let _ = fixture.daemon.cli(&["port", "publish", "inner", "8088:80"]);
    peer::assert_no_reply(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8088),
    );
    peer::assert_no_reply(
        &other.netns,
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8088),
    );
    fixture.assert_clean(&[&inner, &sibling, &other]);
}

fn without_icc(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &["--icc", "off"]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let sibling = fixture.sandbox("sibling", "network_a", &[]);
    let _server = peer::serve(&web.netns, "web", &["80"]);
    let _outside = peer::serve(fixture.outside(), "outside", &["7000"]);

    peer::send_requests(
        &sibling.netns,
        &peer::tcp_and_udp_requests([OUTSIDE.0, OUTSIDE.1], 7000),
    );
    peer::send_requests(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    let before = fixture.counted("drop_icc_off");
    peer::assert_no_reply(
        &sibling.netns,
        &peer::tcp_and_udp_requests(web.addresses(), 80),
    );
    peer::assert_pings(&sibling.netns, web.addresses(), false);
    assert!(fixture.counted("drop_icc_off") > before);
    // The same with static neighbour entries.
    for (one, two) in [(&sibling, &web), (&web, &sibling)] {
        for address in two.addresses() {
            let neighbour = format!("ip neigh replace {address} lladdr {} dev eth0", two.mac);
            one.netns.exec(&neighbour);
        }
    }
    peer::assert_no_reply(
        &sibling.netns,
        &peer::tcp_and_udp_requests(web.addresses(), 80),
    );
    fixture.assert_clean(&[&web, &sibling]);
}
