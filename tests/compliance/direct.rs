//! Attempts to reach sandboxes without a published port.

use netpath_common::addr::MacAddr;
use netpath_tests::{
    fixture::{Fixture, GATEWAY_A, HOST, LOOPBACK, NETWORK_A, add_routes},
    mac_of, peer,
};

use crate::gate::{Offloads, run_in_parallel};

/// H-4: hosts on the link reach neither a sandbox's own address nor a port published on loopback.
pub fn direct_access(offloads: Offloads) {
    run_in_parallel(offloads, &[own_address, loopback]);
}

fn fixture(offloads: Offloads) -> Fixture {
    let topology = offloads.topology().neighbour().second_uplink();
    offloads.start(topology, &["--uplink=eth0"], "")
}

fn own_address(offloads: Offloads) {
    let fixture = fixture(offloads);
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let _server = peer::serve(&web.netns, "web", &["80", "81"]);
    let neighbour = fixture.topology.neighbour.clone().expect("neighbour");
    let second = fixture.topology.second.clone().expect("second");

    // The host itself reaches sandboxes directly.
    peer::send_requests(
        fixture.host(),
        &peer::tcp_and_udp_requests(web.addresses(), 81),
    );
    for (netns, via) in [
        (fixture.outside(), HOST),
        (&neighbour, HOST),
        (&second, ("198.51.100.1", "2001:db8:51::1")),
    ] {
        add_routes(netns, via);
        let before = fixture.counted("drop_direct_access");
        let requests = [80, 81].map(|port| peer::tcp_and_udp_requests(web.addresses(), port));
        peer::assert_no_reply(netns, &requests.concat());
        peer::assert_pings(netns, web.addresses(), false);
        let dropped = fixture.counted("drop_direct_access") - before;
        assert!(dropped >= 10, "{}: {dropped}", netns.name());
    }
    fixture.assert_clean(&[&web]);
}

fn loopback(offloads: Offloads) {
    let fixture = fixture(offloads);
    fixture.network("network_a", NETWORK_A, &[]);
    let publish = [
        "127.0.0.1:8080:80",
        "127.0.0.1:8080:80/udp",
        "[::1]:8080:80",
        "[::1]:8080:80/udp",
    ];
    let web = fixture.sandbox("web", "network_a", &publish);
    let server = peer::serve(&web.netns, "web", &["80"]);
    let host = fixture.host();
    // Host settings with the least protection.
    for device in ["all", "eth0", "eth1"] {
        host.sysctl(&format!("net/ipv4/conf/{device}/route_localnet"), "1");
        host.sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "0");
    }
    let neighbour = fixture.topology.neighbour.clone().expect("neighbour");
    let second = fixture.topology.second.clone().expect("second");

    for (netns, device, own, host_address) in [
        (
            fixture.outside(),
            "eth0",
            ("192.0.2.2", "2001:db8:2::2"),
            HOST,
        ),
        (&neighbour, "eth0", ("192.0.2.3", "2001:db8:2::3"), HOST),
        (
            &second,
            "eth1",
            ("198.51.100.2", "2001:db8:51::2"),
            ("198.51.100.1", "2001:db8:51::1"),
        ),
    ] {
        peer::assert_no_reply(
            netns,
            &peer::tcp_and_udp_requests([host_address.0, host_address.1], 8080),
        );
        let ether = format!(
            "Ether(src='{}',dst='{}')",
            MacAddr(mac_of(netns, "eth0")),
            MacAddr(mac_of(host, device))
        );
        let mut frames = Vec::new();
        for transport in [
            "TCP(sport=1234,dport=8080,flags='S')",
            "UDP(sport=1234,dport=8080)/b'?'",
        ] {
            for source in [own.0, "127.0.0.1"] {
                frames.push(format!(
                    "{ether}/IP(src='{source}',dst='127.0.0.1')/{transport}"
                ));
            }
            for source in [own.1, "::1"] {
                frames.push(format!(
                    "{ether}/IPv6(src='{source}',dst='::1')/{transport}"
                ));
            }
        }
        peer::craft(netns, "eth0", &frames.join(","));
    }
    assert_eq!(server.output().trim(), "serving", "a packet arrived");
    let dropped = fixture.counted("drop_martian");
    assert!(dropped >= 16, "{dropped}");

    for reply in peer::send_requests(
        host,
        &peer::tcp_and_udp_requests([LOOPBACK.0, LOOPBACK.1], 8080),
    ) {
        let gateways = [GATEWAY_A.0, GATEWAY_A.1];
        assert!(gateways.contains(&reply.peer.as_str()), "{reply:?}");
    }
    assert!(
        server.output().contains("udp 80 "),
        "the server reports its client"
    );
    fixture.assert_clean(&[&web]);
}
