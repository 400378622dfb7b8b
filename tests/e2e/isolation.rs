//! Who may talk to whom, by network and its settings.

use netpath_tests::Netns;

use crate::{
    peer::{self, How, Question},
    stage::{HOST, OUTSIDE, SHOP, SHOP_GATEWAY, Sandbox, Stage, YARD, routes},
};

#[track_caller]
fn assert_pings(netns: &Netns, addresses: [&str; 2], answered: bool) {
    for address in addresses {
        let count = peer::ping(netns, address, 9, 2);
        assert_eq!(
            count > 0,
            answered,
            "echo from {} to {address}",
            netns.name()
        );
    }
}

#[test]
fn networks_reach_each_other_through_published_ports_only() {
    let stage = Stage::new();
    stage.two_networks();
    let web = stage.sandbox("web", "shop", &["8080:80", "8080:80/udp"]);
    let sibling = stage.sandbox("sibling", "shop", &[]);
    let other = stage.sandbox("other", "yard", &[]);
    let _server = peer::serve(&web.netns, "web", &["80", "81"]);

    for answer in peer::ask_all(&sibling.netns, &peer::both_ways(web.addresses(), 81)) {
        assert!(
            sibling.addresses().contains(&answer.peer.as_str()),
            "{answer:?}"
        );
    }
    assert_pings(&sibling.netns, web.addresses(), true);
    peer::ask_all(&other.netns, &peer::both_ways([HOST.0, HOST.1], 8080));

    let before = stage.counted("drop_isolated");
    for port in [80, 81] {
        peer::assert_no_answer(&other.netns, &peer::both_ways(web.addresses(), port));
    }
    assert_pings(&other.netns, web.addresses(), false);
    assert_pings(&web.netns, other.addresses(), false);
    assert!(stage.counted("drop_isolated") - before >= 16);
    stage.assert_clean(&[&web, &sibling, &other]);
}

#[test]
fn an_internal_network_has_no_way_out_and_no_way_in() {
    let stage = Stage::new();
    stage.network("shop", SHOP, &["--internal"]);
    stage.network("yard", YARD, &[]);
    let inner = stage.sandbox("inner", "shop", &[]);
    let sibling = stage.sandbox("sibling", "shop", &[]);
    let other = stage.sandbox("other", "yard", &["8080:80"]);
    let _server = peer::serve(&inner.netns, "inner", &["80"]);
    let _outside = peer::serve(stage.outside(), "outside", &["7000"]);
    let _host = peer::serve(stage.host(), "host", &["7777"]);
    let _other = peer::serve(&other.netns, "other", &["80"]);

    peer::ask_all(&sibling.netns, &peer::both_ways(inner.addresses(), 80));
    peer::ask_all(
        &inner.netns,
        &peer::both_ways([SHOP_GATEWAY.0, SHOP_GATEWAY.1], 7777),
    );
    assert_pings(&inner.netns, [SHOP_GATEWAY.0, SHOP_GATEWAY.1], true);
    peer::ask_all(&other.netns, &peer::both_ways([OUTSIDE.0, OUTSIDE.1], 7000));

    peer::assert_no_answer(&inner.netns, &peer::both_ways([OUTSIDE.0, OUTSIDE.1], 7000));
    assert_pings(&inner.netns, [OUTSIDE.0, OUTSIDE.1], false);
    peer::assert_no_answer(&inner.netns, &peer::both_ways(other.addresses(), 80));
    peer::assert_no_answer(&other.netns, &peer::both_ways(inner.addresses(), 80));
    // Even with a route of its own.
    inner
        .netns
        .exec(&format!("ip route replace default via {}", SHOP_GATEWAY.0));
    inner
        .netns
        .exec(&format!("ip route replace default via {}", SHOP_GATEWAY.1));
    let before = stage.counted("drop_internal");
    peer::assert_no_answer(&inner.netns, &peer::both_ways([OUTSIDE.0, OUTSIDE.1], 7000));
    assert_pings(&inner.netns, [OUTSIDE.0, OUTSIDE.1], false);
    peer::assert_no_answer(&inner.netns, &peer::both_ways([HOST.0, HOST.1], 8080));
    assert!(stage.counted("drop_internal") > before);

    // Whether it is refused or has no effect, nobody gets in.
    let _ = stage.daemon.cli(&["port", "publish", "inner", "8088:80"]);
    peer::assert_no_answer(stage.outside(), &peer::both_ways([HOST.0, HOST.1], 8088));
    peer::assert_no_answer(&other.netns, &peer::both_ways([HOST.0, HOST.1], 8088));
    stage.assert_clean(&[&inner, &sibling, &other]);
}

#[test]
fn without_icc_siblings_do_not_reach_each_other() {
    let stage = Stage::new();
    stage.network("shop", SHOP, &["--icc", "off"]);
    let web = stage.sandbox("web", "shop", &["8080:80", "8080:80/udp"]);
    let sibling = stage.sandbox("sibling", "shop", &[]);
    let _server = peer::serve(&web.netns, "web", &["80"]);
    let _outside = peer::serve(stage.outside(), "outside", &["7000"]);

    peer::ask_all(
        &sibling.netns,
        &peer::both_ways([OUTSIDE.0, OUTSIDE.1], 7000),
    );
    peer::ask_all(stage.outside(), &peer::both_ways([HOST.0, HOST.1], 8080));
    let before = stage.counted("drop_icc_off");
    peer::assert_no_answer(&sibling.netns, &peer::both_ways(web.addresses(), 80));
    assert_pings(&sibling.netns, web.addresses(), false);
    assert!(stage.counted("drop_icc_off") > before);
    // Nor with neighbours that need no resolution.
    for (one, two) in [(&sibling, &web), (&web, &sibling)] {
        for address in two.addresses() {
            let neighbour = format!("ip neigh replace {address} lladdr {} dev eth0", two.mac);
            one.netns.exec(&neighbour);
        }
    }
    peer::assert_no_answer(&sibling.netns, &peer::both_ways(web.addresses(), 80));
    stage.assert_clean(&[&web, &sibling]);
}

#[test]
fn a_routed_network_is_reached_by_its_own_addresses_at_published_ports() {
    let stage = Stage::new();
    stage.network("shop", SHOP, &["--gateway-mode", "routed"]);
    stage.network("yard", YARD, &[]);
    let web = stage.sandbox("web", "shop", &["80:80", "80:80/udp"]);
    let other = stage.sandbox("other", "yard", &[]);
    let _server = peer::serve(&web.netns, "web", &["80", "81"]);
    let outside = stage.outside();
    routes(outside, HOST);
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
    assert_pings(&web.netns, [OUTSIDE.0, OUTSIDE.1], true);
    stage.assert_clean(&[&web, &other]);
}

#[test]
fn without_masquerade_the_outside_sees_the_sandbox() {
    let stage = Stage::new();
    stage.network("shop", SHOP, &["--masquerade", "off"]);
    let client: Sandbox = stage.sandbox("client", "shop", &["8080:80"]);
    let _server = peer::serve(&client.netns, "client", &["80", "81"]);
    let outside = stage.outside();
    routes(outside, HOST);
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
    assert_pings(&client.netns, [OUTSIDE.0, OUTSIDE.1], true);
    peer::ask(outside, &Question::new(How::Tcp, HOST.0, 8080));
    peer::ask(outside, &Question::new(How::Tcp, HOST.1, 8080));
    // Nothing but answers comes in.
    peer::assert_no_answer(outside, &peer::both_ways(client.addresses(), 81));
    assert_pings(outside, client.addresses(), false);
    stage.assert_clean(&[&client]);
}
