//! Spoofed packets of a sandbox, and private source addresses outside.

use std::{thread, time::Duration};

use netpath_tests::{
    Capture, Netns, Wire,
    fixture::{Fixture, GATEWAY_A, HOST, NETWORK_A, OUTSIDE},
    peer::{self, Request, SocketType},
    scapy_frames,
};

use crate::gate::{Offloads, run_in_parallel};

/// G-3: a sandbox sends only from its own address, and no private source address leaves the node, in any state of the
/// daemon.
pub fn sources(offloads: Offloads) {
    run_in_parallel(offloads, &[own_addresses_only, restarts, untranslatable]);
}

/// Source addresses that must not be seen outside.
const PRIVATE: &str = "src net 10.0.0.0/8 or src net 172.16.0.0/12 or src net fd00::/8";

fn host_mac(netns: &Netns, address: &str) -> String {
    let text = netns.exec(&format!("ip neigh show to {address}"));
    let mut words = text.split_ascii_whitespace();
    words.find(|word| *word == "lladdr");
    words.next().expect("a neighbour").to_owned()
}

fn own_addresses_only(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let attacker_socket = fixture.sandbox("attacker_socket", "network_a", &[]);
    let victim = fixture.sandbox("victim", "network_a", &[]);
    let server = peer::serve(&victim.netns, "victim", &["80"]);
    let capture = Capture::start(fixture.outside(), "eth0");
    for gateway in [GATEWAY_A.0, GATEWAY_A.1] {
        assert_eq!(peer::ping(&attacker_socket.netns, gateway, 1, 1), 1);
        assert_eq!(peer::ping(&victim.netns, gateway, 1, 1), 1);
    }
    let gateway_mac = host_mac(&victim.netns, GATEWAY_A.0);
    let known = |address: &str| host_mac(&victim.netns, address);
    let before = [known(GATEWAY_A.0), known(GATEWAY_A.1)];

    let own = format!("Ether(src='{}',dst='{gateway_mac}')", attacker_socket.mac);
    let to_victim = format!("Ether(src='{}',dst='{}')", attacker_socket.mac, victim.mac);
    let all = format!(
        "Ether(src='{}',dst='ff:ff:ff:ff:ff:ff')",
        attacker_socket.mac
    );
    let all_nodes = format!(
        "Ether(src='{}',dst='33:33:00:00:00:01')",
        attacker_socket.mac
    );
    let (victim4, victim6) = (&victim.v4, &victim.v6);
    let (out4, out6) = OUTSIDE;
    let udp = "UDP(sport=1,dport=80)/b'spoofed'";
    let mac = &attacker_socket.mac;
    let (gateway4, gateway6) = GATEWAY_A;
    let frames = [
        (
            "another sandbox's address, to the outside",
            format!("{own}/IP(src='{victim4}',dst='{out4}')/{udp}"),
        ),
        (
            "another sandbox's address, to the outside, v6",
            format!("{own}/IPv6(src='{victim6}',dst='{out6}')/{udp}"),
        ),
        (
            "the host's address",
            format!("{own}/IP(src='{}',dst='{out4}')/{udp}", HOST.0),
        ),
        (
            "the host's address, v6",
            format!("{own}/IPv6(src='{}',dst='{out6}')/{udp}", HOST.1),
        ),
        (
            "an outside address",
            format!("{own}/IP(src='203.0.113.9',dst='{out4}')/{udp}"),
        ),
        (
            "an outside address, v6",
            format!("{own}/IPv6(src='2001:db8:9::9',dst='{out6}')/{udp}"),
        ),
        (
            "the gateway's address to a sibling",
            format!("{to_victim}/IP(src='{gateway4}',dst='{victim4}')/{udp}"),
        ),
        (
            "the same, v6",
            format!("{to_victim}/IPv6(src='{gateway6}',dst='{victim6}')/{udp}"),
        ),
        (
            "another sandbox's MAC address",
            format!(
                "Ether(src='{}',dst='{gateway_mac}')/IP(src='{}',dst='{out4}')/{udp}",
                victim.mac, attacker_socket.v4
            ),
        ),
        (
            "a spoofed ARP reply",
            format!(
                "{to_victim}/ARP(op=2,hwsrc='{mac}',psrc='{gateway4}',hwdst='{}',pdst='{victim4}')",
                victim.mac
            ),
        ),
        (
            "a spoofed ARP announcement",
            format!("{all}/ARP(op=1,hwsrc='{mac}',psrc='{gateway4}',pdst='{gateway4}')"),
        ),
        (
            "a spoofed hardware address in ARP",
            format!(
                "{all}/ARP(op=1,hwsrc='{}',psrc='{}',pdst='{gateway4}')",
                victim.mac, attacker_socket.v4
            ),
        ),
        (
            "a router advertisement",
            format!(
                "{all_nodes}/IPv6(src='fe80::1',dst='ff02::1',hlim=255)/ICMPv6ND_RA(routerlifetime=1800)/ICMPv6NDOptSrcLLAddr(lladdr='{mac}')"
            ),
        ),
        (
            "an advertisement for the gateway",
            format!(
                "{all_nodes}/IPv6(src='{}',dst='ff02::1',hlim=255)/ICMPv6ND_NA(tgt='{gateway6}',R=0,S=0,O=1)/ICMPv6NDOptDstLLAddr(lladdr='{mac}')",
                attacker_socket.v6
            ),
        ),
        (
            "an advertisement for a sibling",
            format!(
                "{own}/IPv6(src='{}',dst='{gateway6}',hlim=255)/ICMPv6ND_NA(tgt='{victim6}',R=0,S=0,O=1)/ICMPv6NDOptDstLLAddr(lladdr='{mac}')",
                attacker_socket.v6
            ),
        ),
        (
            "a redirect",
            format!(
                "{to_victim}/IPv6(src='fe80::1',dst='{victim6}',hlim=255)/ICMPv6ND_Redirect(tgt='{}',dst='{out6}')",
                attacker_socket.v6
            ),
        ),
    ];
    let (what, programs): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
    let wire = Wire::open(&attacker_socket.netns, "eth0");
    for (what, frame) in what
        .iter()
        .zip(scapy_frames(fixture.host(), &programs.join(",")))
    {
        let counted = fixture.counted("drop_spoofed");
        wire.send(&frame);
        assert_eq!(fixture.counted("drop_spoofed") - counted, 1, "{what}");
    }

    assert_eq!(
        [known(gateway4), known(gateway6)],
        before,
        "the neighbour entry has changed"
    );
    assert_eq!(
        server.output().trim(),
        "serving",
        "the victim received a request"
    );
    let routes = victim.netns.exec("ip -6 route show default");
    assert_eq!(routes.lines().count(), 1, "{routes}");
    let seen = capture.packets(fixture.outside(), &["udp port 80"]);
    assert_eq!(seen, "", "a spoofed packet was sent outside");
    // The sandbox still works.
    assert_eq!(peer::ping(&attacker_socket.netns, OUTSIDE.0, 1, 2), 2);
    assert_eq!(peer::ping(&attacker_socket.netns, OUTSIDE.1, 1, 2), 2);
    assert_eq!(capture.packets(fixture.outside(), &[PRIVATE]), "");
    fixture.assert_clean(&[&attacker_socket, &victim]);
}

fn restarts(offloads: Offloads) {
    let mut fixture = offloads.fixture();
    let capture = Capture::start(fixture.outside(), "eth0");
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("busy", "network_a", &[]);
    let _flood = peer::flood(&sandbox.netns, &[OUTSIDE.0, OUTSIDE.1, "203.0.113.1"]);
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);
    let works = |fixture: &Fixture| {
        for address in [OUTSIDE.0, OUTSIDE.1] {
            peer::send_request(
                &sandbox.netns,
                &Request::new(SocketType::Tcp, address, 7000),
            );
        }
        thread::sleep(Duration::from_millis(200));
        fixture.counted("translated")
    };

    let first = works(&fixture);
    fixture.daemon.kill9();
    works(&fixture);
    fixture.daemon.restart();
    works(&fixture);
    fixture.daemon.stop();
    works(&fixture);
    fixture.daemon.restart();
    assert!(works(&fixture) > first);
    fixture.daemon.cli(&["sandbox", "rm", "busy"]);
    thread::sleep(Duration::from_millis(200));

    let outside = fixture.outside();
    let all = capture.packets(outside, &["udp or tcp"]);
    assert!(all.lines().count() > 200, "{}", all.lines().count());
    let leaked = capture.packets(outside, &[PRIVATE]);
    assert_eq!(
        leaked, "",
        "a packet with a private source was sent outside"
    );
    fixture.assert_clean(&[]);
}

fn untranslatable(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("sender", "network_a", &[]);
    for gateway in [GATEWAY_A.0, GATEWAY_A.1] {
        assert_eq!(peer::ping(&sandbox.netns, gateway, 1, 1), 1);
    }
    let gateway_mac = host_mac(&sandbox.netns, GATEWAY_A.0);
    let capture = Capture::start(fixture.outside(), "eth0");
    let ether = format!("Ether(src='{}',dst='{gateway_mac}')", sandbox.mac);
    let v4 = format!("{ether}/IP(src='{}',dst='{}'", sandbox.v4, OUTSIDE.0);
    let v6 = format!("{ether}/IPv6(src='{}',dst='{}')", sandbox.v6, OUTSIDE.1);
    let quoted = format!(
        "IP(src='{}',dst='{}')/UDP(sport=9,dport=9)",
        OUTSIDE.0, sandbox.v4
    );
    let frames = [
        // Protocols without ports.
        format!("{v4},proto=47)/b'generic routing encapsulation'"),
        format!("{v4},proto=132)/b'stream control'"),
        format!("{v4},proto=4)/IP(src='10.1.1.1',dst='{}')/UDP()", OUTSIDE.0),
        format!("{v6}/IPv6ExtHdrDestOpt()/b'nothing'"),
        format!("{v6}/IPv6ExtHdrRouting()/UDP(sport=9,dport=9)"),
        // Fragments: a first one, a later one, one without a first.
        format!("{v4},flags='MF',id=7)/UDP(sport=9,dport=9,len=48)/(b'a'*16)"),
        format!("{v4},frag=3,id=7)/(b'b'*24)"),
        format!("{v4},frag=100,id=8)/(b'c'*24)"),
        format!(
            "{v6}/IPv6ExtHdrFragment(offset=0,m=1,id=7,nh=17)/UDP(sport=9,dport=9,len=48,chksum=1)/(b'a'*16)"
        ),
        format!("{v6}/IPv6ExtHdrFragment(offset=3,m=0,id=7,nh=17)/(b'b'*24)"),
        // Segments of unknown connections.
        format!("{v4})/TCP(sport=9,dport=9,flags='A')"),
        format!("{v4})/TCP(sport=9,dport=9,flags='R')"),
        format!("{v4})/TCP(sport=9,dport=9,flags='FA')"),
        format!("{v6}/TCP(sport=9,dport=9,flags='RA')"),
        // Errors about unknown flows.
        format!("{v4})/ICMP(type=3,code=3)/{quoted}"),
        format!("{v6}/ICMPv6DestUnreach()/IPv6()/UDP()"),
        format!("{v4})/ICMP(type=13)"),
        format!("{v4})/ICMP(type=0,id=5)"),
        // IP options, TTL 1, truncated, without checksum.
        format!("{v4},options=[IPOption_RR(routers=['0.0.0.0']*3)])/UDP(sport=9,dport=9)"),
        format!(
            "{v4},options=[IPOption(b'\\x83\\x07\\x04\\xcb\\x00\\x71\\x01')])/UDP(sport=9,dport=9)"
        ),
        format!("{v4},ttl=1)/UDP(sport=9,dport=9)"),
        format!("{v4})/b'x'"),
        format!("{v4},ihl=15)/UDP(sport=9,dport=9)"),
        format!("{v4},proto=6)/b'short'"),
        format!("{v4})/UDP(sport=9,dport=9,chksum=0)/b'none'"),
        // To an address that the gateway does not route, and with a VLAN tag.
        format!(
            "{ether}/IP(src='{}',dst='224.0.0.5',ttl=5)/UDP(sport=9,dport=9)",
            sandbox.v4
        ),
        format!(
            "{ether}/IP(src='{}',dst='255.255.255.255')/UDP(sport=9,dport=9)",
            sandbox.v4
        ),
        format!(
            "Ether(src='{}',dst='{gateway_mac}')/Dot1Q(vlan=5)/IP(src='{}',dst='{}')/UDP(sport=9,dport=9)",
            sandbox.mac, sandbox.v4, OUTSIDE.0
        ),
    ];
    peer::craft(&sandbox.netns, "eth0", &frames.join(","));
    for address in [OUTSIDE.0, OUTSIDE.1] {
        assert_eq!(peer::ping(&sandbox.netns, address, 1, 2), 2);
    }
    let leaked = capture.packets(fixture.outside(), &[&format!("{PRIVATE} or vlan")]);
    assert_eq!(leaked, "");
}
