//! TTL, path MTU, and malformed packets.

use std::net::IpAddr;

use netpath_tests::{
    Wire,
    fixture::{Fixture, GATEWAY_A, HOST, LOOPBACK, NETWORK_A, OUTSIDE, Pair},
    packet::{Packet, SYN},
    peer,
};

use crate::{
    flow::{Ends, FlowProtocol},
    gate::Offloads,
    segments::published,
};

/// The remote host. The outside is the router on the path to it.
const REMOTE_HOST: Pair = ("198.18.0.2", "2001:db8:18::2");
/// The smallest MTU of an IPv6 link.
const MTU: u32 = 1280;

/// T-9, M-1: a router with a smaller link reports the path MTU, to a sandbox and to the server of a published port.
pub fn path_mtu(offloads: Offloads) {
    let fixture = offloads.start(offloads.topology().router(MTU), &[], "");
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80"]);
    let client = fixture.sandbox("client", "network_a", &[]);
    let remote = fixture.topology.remote.clone().expect("a remote host");
    let _server = peer::serve_blobs(&web.netns, 80);
    let _remote_server = peer::serve_blobs(&remote, 7000);
    for (host, address) in [(HOST.0, REMOTE_HOST.0), (HOST.1, REMOTE_HOST.1)] {
        peer::exchange(&client.netns, address, 7000, 2);
        peer::exchange(&remote, host, 8080, 2);
        for netns in [&client.netns, &web.netns] {
            let route = netns.exec(&format!("ip route get {address}"));
            assert!(route.contains("mtu 1280"), "not learned: {route}");
        }
        let (error, mtu) = peer::send_unfragmented(&client.netns, address, 1400);
        assert_eq!(error.as_deref(), Some("Message too long"), "{address}");
        assert_eq!(mtu, Some(u64::from(MTU)), "{address}");
    }
    // A sandbox without a cached path MTU.
    let uncached = fixture.sandbox("uncached", "network_a", &[]);
    for address in [REMOTE_HOST.0, REMOTE_HOST.1] {
        let trace = uncached.netns.exec(&format!("tracepath -n -m 8 {address}"));
        assert!(
            trace.contains("pmtu 1280") && trace.contains("reached"),
            "{trace}"
        );
    }
    fixture.assert_clean(&[&web, &client, &uncached]);
}

/// G-1, G-2: every hop is visible in a traceroute, a bridged frame keeps its TTL, and malformed packets neither affect
/// flows nor are repaired.
pub fn limits(offloads: Offloads) {
    let fixture = offloads.start(offloads.topology().router(1500), &[], "");
    let (sandbox, ends) = published(&fixture);
    for (number, address) in [REMOTE_HOST.0, REMOTE_HOST.1].into_iter().enumerate() {
        let gateway = [GATEWAY_A.0, GATEWAY_A.1][number];
        let router = [OUTSIDE.0, OUTSIDE.1][number];
        for method in ["-U", "-T", "-I"] {
            let command = format!("traceroute -n -q 1 -w 2 -m 5 {method} {address}");
            let trace = sandbox.netns.exec(&command);
            let hops: Vec<&str> = trace
                .lines()
                .skip(1)
                .filter_map(|line| line.split_ascii_whitespace().nth(1))
                .collect();
            assert_eq!(hops, [gateway, router, address], "{method}: {trace}");
        }
    }
    expired_ttl(&fixture, &ends);
    siblings(&fixture);
    malformed_packets(&fixture, &ends);
    let _server = peer::serve(&sandbox.netns, "web", &["80"]);
    peer::send_requests(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    peer::send_requests(
        fixture.host(),
        &peer::tcp_and_udp_requests([LOOPBACK.0, LOOPBACK.1], 8080),
    );
    peer::assert_pings(&sandbox.netns, [OUTSIDE.0, OUTSIDE.1], true);
    netpath_tests::assert_no_netfilter(fixture.host());
}

/// A packet whose TTL expires at the node is dropped, and a sandbox that sent it receives an error.
fn expired_ttl(fixture: &Fixture, ends: &Ends) {
    for family in [0, 1] {
        let out = ends.outbound(family, FlowProtocol::Udp, 5000);
        ends.send_inside(&out.sent_inside().ttl(1));
        let exceeded = [11, 3][family];
        let error = ends
            .inside
            .wait(std::time::Duration::from_secs(4), |frame| {
                let (protocol, kind) = ([23, 20][family], [34, 54][family]);
                frame[protocol] == [1, 58][family] && frame.get(kind) == Some(&exceeded)
            });
        assert!(error.is_some(), "time exceeded, family {family}");
        let inward = ends.inbound(family, FlowProtocol::Udp, 4000);
        let arrived = inward.received_inside().ttl(1).build();
        ends.send_outside(&inward.sent_outside().ttl(1));
        ends.inside
            .expect_nothing("a packet with an expired TTL", |frame| {
                frame[14..] == arrived[14..]
            });
    }
    assert!(fixture.counted("pass_ttl_exceeded") >= 4);
}

/// Frames within a network are bridged and keep their TTL.
fn siblings(fixture: &Fixture) {
    let [a, b] = ["a", "b"].map(|name| fixture.sandbox(name, "network_a", &[]));
    let (from, to) = (Wire::open(&a.netns, "eth0"), Wire::open(&b.netns, "eth0"));
    for (own, other) in a.addresses().into_iter().zip(b.addresses()) {
        let [own, other]: [IpAddr; 2] = [own, other].map(|text| text.parse().expect("an address"));
        for ttl in [1, 64] {
            let packet = Packet::ip(own, other).udp(5000, 5001).ttl(ttl);
            from.send(&packet.clone().eth(from.mac, to.mac).build());
            to.expect("from a sibling", &packet);
        }
    }
}

/// Malformed packets of every kind, from both sides.
///
/// `NETPATH_GATE_FRAMES` is the number of random frames from each side; the full size is 1000000.
fn malformed_packets(fixture: &Fixture, ends: &Ends) {
    for family in [0, 1] {
        let out = ends.outbound(family, FlowProtocol::Udp, 5000);
        let inward = ends.inbound(family, FlowProtocol::Udp, 4000);
        out.opens_inside();
        inward.opens_outside();
        let frames = [
            (true, out.sent_inside()),
            (false, out.sent_outside()),
            (false, inward.sent_outside()),
            (true, inward.sent_inside()),
            (
                true,
                ends.outbound(family, FlowProtocol::Tcp, 5000)
                    .sent_inside()
                    .flags(SYN),
            ),
            (
                false,
                ends.inbound(family, FlowProtocol::Tcp, 4000)
                    .sent_outside()
                    .flags(SYN),
            ),
        ];
        for (inside, packet) in &frames {
            send_mutations(ends, *inside, packet);
        }
        if family == 0 {
            // An incorrect header checksum must not be corrected: the packet is dropped, or its checksum stays incorrect.
            for (inside, flow) in [(true, &out), (false, &inward)] {
                let corrupt = |packet: Packet| packet.header_error(0x0101);
                let (sent, seen) = if inside {
                    (flow.sent_inside(), flow.received_outside())
                } else {
                    (flow.sent_outside(), flow.received_inside())
                };
                let wire = if inside { &ends.outside } else { &ends.inside };
                wire.drain();
                if inside {
                    ends.send_inside(&corrupt(sent));
                } else {
                    ends.send_outside(&corrupt(sent));
                }
                let repaired = seen.build();
                wire.expect_nothing("a repaired header checksum", |frame| {
                    frame[14..] == repaired[14..]
                });
            }
        }
        out.opens_inside();
        inward.opens_outside();
    }
    assert!(fixture.counted("drop_malformed") > 0);
}

/// Sends a frame with each byte after the ethertype changed, truncated at each length, and with random bytes.
fn send_mutations(ends: &Ends, inside: bool, packet: &Packet) {
    let (wire, to) = if inside {
        (&ends.inside, ends.gateway)
    } else {
        (&ends.outside, ends.host)
    };
    let original = packet.clone().eth(wire.mac, to).build();
    for at in 14..original.len() {
        for change in [0xff, 0x01, 0x80] {
            let mut frame = original.clone();
            frame[at] ^= change;
            wire.send(&frame);
        }
        wire.send(&original[..at]);
    }
    // SplitMix64 with a fixed seed, so that every run sends the same frames.
    let mut state = original.len() as u64;
    for _ in 0..crate::delivery::size("NETPATH_GATE_FRAMES", 2000) / 6 {
        let mut frame = original.clone();
        for byte in &mut frame[14..] {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            if mixed >> 60 == 0 {
                *byte = (mixed >> 8) as u8;
            }
        }
        wire.send(&frame);
    }
}
