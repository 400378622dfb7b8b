//! Neighbour discovery, and ICMPv6 errors that must be delivered.

use std::thread;

use netpath_tests::{
    Capture,
    fixture::{GATEWAY_A, HOST, OUTSIDE},
    packet::Packet,
    peer,
};

use crate::{
    flow::{FlowProtocol, ROUTER, address},
    gate::Offloads,
    segments::published,
};

/// V6-3, V6-4: ICMPv6 errors are translated, and neighbour discovery keeps its hop limit of 255 and works during a
/// transfer.
pub fn control(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (sandbox, ends) = published(&fixture);
    let router = address(ROUTER, 1);
    for protocol in [FlowProtocol::Udp, FlowProtocol::Echo] {
        let flow = ends.outbound(1, protocol, 5000);
        flow.opens_inside();
        // Packet too big (also below the minimum MTU), time exceeded, parameter problem, destination unreachable.
        for (kind, code, rest) in [
            (2, 0, [0, 0, 5, 0]),
            (2, 0, [0, 0, 4, 0]),
            (3, 0, [0; 4]),
            (4, 0, [0, 0, 0, 6]),
            (1, 0, [0; 4]),
        ] {
            let error = |about: Packet, to| {
                let about = about.build();
                let error = Packet::ip(router, to).icmp(kind, code, rest);
                error.payload(&about[14..])
            };
            ends.send_outside(&error(flow.received_outside(), flow.outer.0));
            let expected = error(flow.sent_inside().routed(), flow.inner.0).routed();
            ends.inside
                .expect(&format!("type {kind} code {code}"), &expected);
        }
    }

    let capture = Capture::start(&sandbox.netns, "eth0");
    let _server = peer::serve_blobs(&sandbox.netns, 80);
    let _outside = peer::serve_blobs(fixture.outside(), 7000);
    let flush = || {
        for netns in [fixture.host(), &sandbox.netns, fixture.outside()] {
            // Traffic adds entries meanwhile, so `ip` may report that some are left.
            let _ = netns.run(&["ip", "neigh", "flush", "all"]);
        }
    };
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            peer::exchange(&sandbox.netns, OUTSIDE.1, 7000, 12);
            peer::exchange(fixture.outside(), HOST.1, 8080, 12);
            peer::exchange(&sandbox.netns, OUTSIDE.0, 7000, 12);
            peer::exchange(fixture.outside(), HOST.0, 8080, 12);
        });
        while !busy.is_finished() {
            flush();
            thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    flush();
    for gateway in [GATEWAY_A.0, GATEWAY_A.1] {
        assert_eq!(peer::ping(&sandbox.netns, gateway, 1, 2), 2, "{gateway}");
        assert_eq!(peer::ping(fixture.host(), gateway, 1, 2), 2, "{gateway}");
    }
    // The node sends solicitations too.
    fixture.host().exec("ip neigh flush all");
    peer::assert_pings(fixture.host(), sandbox.addresses(), true);
    let discovery = "(icmpv6.type == 135 || icmpv6.type == 136)";
    let all = capture.decoded(&sandbox.netns, discovery);
    assert!(all >= 4, "{all}");
    let changed = capture.decoded(&sandbox.netns, &format!("{discovery} && ipv6.hlim != 255"));
    assert_eq!(changed, 0, "hop limits");

    // Duplicate address detection succeeds for a free address and fails for a used one.
    let duplicate = fixture.sandbox("duplicate", "network_a", &[]);
    let addresses = duplicate.netns.exec("ip -6 addr show dev eth0");
    assert!(!addresses.contains("dadfailed"), "{addresses}");
    fixture.assert_clean(&[&sandbox, &duplicate]);
}
