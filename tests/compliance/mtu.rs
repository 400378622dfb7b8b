//! Packet sizes and MTUs.

use netpath_tests::{
    Capture,
    fixture::{HOST, NETWORK_A, OUTSIDE},
    peer,
};

use crate::{
    datagrams::Datagrams,
    flow::{AddrPort, Ends, FlowProtocol, address},
    gate::{Offloads, run_in_parallel},
};
use serde_json::json;

/// U-13: sandboxes have the uplink's MTU. With a larger MTU, streams and datagrams learn the uplink's, and datagrams
/// without DF are fragmented.
pub fn sizes(offloads: Offloads) {
    run_in_parallel(offloads, &[inherited, smaller_uplink]);
}

fn inherited(offloads: Offloads) {
    let fixture = offloads.start(offloads.topology().mtu(1400), &[], "");
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("client", "network_a", &["8080:80"]);
    let link = sandbox.netns.exec("ip -o link show dev eth0");
    assert!(link.contains(" mtu 1400 "), "{link}");
    let found = fixture.daemon.json(&["sandbox", "inspect", "client"]);
    assert_eq!(found[0]["endpoints"][0]["mtu"], json!(1400));
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let (error, _) = peer::send_unfragmented(&sandbox.netns, address, 1450);
        assert_eq!(error.as_deref(), Some("Message too long"), "{address}");
    }
    let _server = peer::serve_blobs(&sandbox.netns, 80);
    for address in [HOST.0, HOST.1] {
        peer::exchange(fixture.outside(), address, 8080, 20);
    }
    fixture.assert_clean(&[&sandbox]);
}

/// A sandbox whose MTU is larger than the uplink's; the links beyond the uplink have the larger MTU too.
fn smaller_uplink(offloads: Offloads) {
    let topology = offloads.topology().build();
    topology.host.exec("ip link set eth0 mtu 1300");
    let fixture = offloads.start_on(topology, &[], "");
    fixture.network("network_a", NETWORK_A, &["--mtu", "1500"]);
    let sandbox = fixture.sandbox("client", "network_a", &[]);
    let link = sandbox.netns.exec("ip -o link show dev eth0");
    assert!(link.contains(" mtu 1500 "), "{link}");
    let capture = Capture::first(fixture.outside(), "eth0", 100_000);

    let _outside = peer::serve_blobs(fixture.outside(), 7000);
    for address in [OUTSIDE.0, OUTSIDE.1] {
        peer::upload(&sandbox.netns, address, 7000, 5);
        let route = sandbox.netns.exec(&format!("ip route get {address}"));
        assert!(route.contains("mtu 1300"), "not learned: {route}");
        let (error, mtu) = peer::send_unfragmented(&sandbox.netns, address, 1420);
        assert_eq!(error.as_deref(), Some("Message too long"), "{address}");
        assert_eq!(mtu, Some(1300), "{address}");
    }
    // Without DF, the sandbox fragments by the path MTU that it has learned, and the node fragments the rest.
    // The replies must fit into the uplink's MTU.
    fixture.outside().exec("ip link set eth0 mtu 1300");
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let ping = format!("ping -q -n -c 3 -i 0.2 -W 2 -M dont -s 3000 {address}");
        sandbox.netns.exec(&ping);
    }
    let receiver = Datagrams::bind(fixture.outside(), OUTSIDE.0, 7001);
    let ends = Ends::new(&fixture, &sandbox);
    let mut flow = ends.outbound(0, FlowProtocol::Udp, 5000);
    flow.remote = AddrPort(address(OUTSIDE, 0), 7001);
    let text = "abcdefg".repeat(200);
    ends.send_inside(&flow.sent_inside().payload(text.as_bytes()));
    let (received, _) = receiver.receive("a datagram larger than the uplink's MTU");
    assert!(received == text, "{} bytes", received.len());
    assert!(fixture.counted("pass_too_big") > 0);
    if offloads == Offloads::Off {
        // With offloads, a captured packet may contain several segments. The size includes the Ethernet header.
        let large = "(src host 192.0.2.1 or src host 2001:db8:2::1) and greater 1315";
        let large = capture.packets(fixture.outside(), &[large]);
        assert_eq!(large, "", "larger than the uplink's MTU");
    }
    fixture.assert_clean(&[&sandbox]);
}
