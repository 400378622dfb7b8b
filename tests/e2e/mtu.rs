//! Sizes of packets.

use netpath_tests::Topology;
use serde_json::json;

use crate::{
    peer,
    stage::{HOST, OUTSIDE, SHOP, Stage},
};

#[test]
fn a_sandbox_inherits_the_mtu_of_the_uplink() {
    let stage = Stage::on(Topology::builder().mtu(1400).build());
    stage.network("shop", SHOP, &[]);
    let sandbox = stage.sandbox("client", "shop", &["8080:80"]);
    let link = sandbox.netns.exec("ip -o link show dev eth0");
    assert!(link.contains(" mtu 1400 "), "{link}");
    let found = stage.daemon.json(&["sandbox", "inspect", "client"]);
    assert_eq!(found[0]["endpoints"][0]["mtu"], json!(1400));
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let (error, _) = peer::send_unfragmented(&sandbox.netns, address, 1450);
        assert_eq!(error.as_deref(), Some("Message too long"), "{address}");
    }
    let _server = peer::serve_blobs(&sandbox.netns, 80);
    for address in [HOST.0, HOST.1] {
        peer::exchange(stage.outside(), address, 8080, 20);
    }
    stage.assert_clean(&[&sandbox]);
}

/// A sandbox with larger packets than the uplink takes.
fn too_large(topology: Topology) {
    let stage = Stage::on(topology);
    stage.network("shop", SHOP, &["--mtu", "1500"]);
    let sandbox = stage.sandbox("client", "shop", &["8080:80"]);
    let link = sandbox.netns.exec("ip -o link show dev eth0");
    assert!(link.contains(" mtu 1500 "), "{link}");

    let _outside = peer::serve_blobs(stage.outside(), 7000);
    let _inside = peer::serve_blobs(&sandbox.netns, 80);
    for address in [OUTSIDE.0, OUTSIDE.1] {
        peer::exchange(&sandbox.netns, address, 7000, 5);
    }
    for address in [HOST.0, HOST.1] {
        peer::exchange(stage.outside(), address, 8080, 5);
    }
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let (error, mtu) = peer::send_unfragmented(&sandbox.netns, address, 1420);
        assert_eq!(error.as_deref(), Some("Message too long"), "{address}");
        assert_eq!(mtu, Some(1300), "{address}");
    }
    stage.assert_clean(&[&sandbox]);
}

#[test]
fn a_smaller_uplink_is_learned_with_the_default_offloads() {
    too_large(Topology::builder().mtu(1300).build());
}

#[test]
fn a_smaller_uplink_is_learned_without_offloads() {
    too_large(Topology::builder().mtu(1300).without_offloads().build());
}
