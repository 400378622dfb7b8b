//! Forwarding sandboxes: gateways and VPN routers of their siblings. The sandbox `router` is one.

use netpath_tests::{
    Netns, assert_no_bad_checksums,
    fixture::{Fixture, HOST, NETWORK_A, NETWORK_B, OUTSIDE, Pair, Sandbox},
    peer::{self, Request, SocketType},
};

/// Subnets of the link between the forwarding sandbox and the remote host.
const REMOTE_SUBNETS: Pair = ("10.99.0.0/24", "fd00:99::/64");
/// Addresses of the forwarding sandbox on that link.
const ROUTER: Pair = ("10.99.0.1", "fd00:99::1");
/// The remote host.
const REMOTE: Pair = ("10.99.0.5", "fd00:99::5");

/// Makes a remote host that only the forwarding sandbox reaches, as through a VPN.
fn make_remote(router: &Netns) -> Netns {
    let remote = Netns::new("remote");
    router.exec(&format!(
        "ip link add vpn0 type veth peer name eth0 netns {}",
        remote.path().display()
    ));
    for (netns, device, addresses) in [(router, "vpn0", ROUTER), (&remote, "eth0", REMOTE)] {
        netns.exec(&format!("ip addr add {}/24 dev {device}", addresses.0));
        netns.exec(&format!(
            "ip addr add {}/64 dev {device} nodad",
            addresses.1
        ));
        netns.exec(&format!("ip link set {device} up"));
    }
    for via in [ROUTER.0, ROUTER.1] {
        remote.exec(&format!("ip route add default via {via}"));
    }
    remote
}

/// Adds routes through the forwarding sandbox.
fn route_via(netns: &Netns, prefixes: Pair, router: [&str; 2]) {
    for (prefix, via) in [(prefixes.0, router[0]), (prefixes.1, router[1])] {
        netns.exec(&format!("ip route replace {prefix} via {via}"));
    }
}

/// Creates the sandbox `router` in `network_a`, the remote host, and a client in `network_a` with routes to it.
fn routed(fixture: &Fixture, options: &str) -> (Sandbox, Netns, Sandbox) {
    fixture.cli_ok(&format!(
        "sandbox create router --network network_a {options}"
    ));
    let router = fixture.inspect("router");
    let remote = make_remote(&router.netns);
    let client = fixture.sandbox("client", "network_a", &[]);
    route_via(&client.netns, REMOTE_SUBNETS, router.addresses());
    (router, remote, client)
}

/// Makes netfilter drop what the host forwards, also between ports of a bridge.
fn drop_forwarded(host: &Netns) {
    for family in ["iptables", "ip6tables"] {
        host.sysctl(&format!("net/bridge/bridge-nf-call-{family}"), "1");
        host.exec(&format!("{family} -P FORWARD DROP"));
    }
}

/// Fails unless every request is answered and the server sees one of the addresses as client.
#[track_caller]
fn assert_seen_as(netns: &Netns, server: Pair, port: u16, seen: [&str; 2]) {
    let requests = peer::tcp_and_udp_requests([server.0, server.1], port);
    for reply in peer::send_requests(netns, &requests) {
        assert!(seen.contains(&reply.peer.as_str()), "{reply:?}");
    }
}

#[test]
fn class4_siblings_reach_hosts_beyond_a_forwarding_sandbox_and_are_reached_from_them() {
    let mut fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let (router, remote, client) = routed(&fixture, "--forwarding");
    drop_forwarded(fixture.host());
    let _servers = [
        peer::serve(&remote, "remote", &["80"]),
        peer::serve(&client.netns, "client", &["80"]),
    ];
    let check = || {
        assert_seen_as(&client.netns, REMOTE, 80, client.addresses());
        let requests = peer::tcp_and_udp_requests(client.addresses(), 80);
        for reply in peer::send_requests(&remote, &requests) {
            assert!([REMOTE.0, REMOTE.1].contains(&reply.peer.as_str()));
        }
        peer::assert_pings(&client.netns, [REMOTE.0, REMOTE.1], true);
    };
    check();
    let blobs = peer::serve_blobs(&remote, 81);
    for address in [REMOTE.0, REMOTE.1] {
        peer::exchange(&client.netns, address, 81, 4);
    }
    drop(blobs);
    // Fragments pass, because nothing is translated.
    for address in [REMOTE.0, REMOTE.1] {
        let echo = format!("ping -c 1 -W 5 -s 4000 {address}");
        client.netns.exec(&echo);
    }
    assert_eq!(fixture.flows(&[]).len(), 0, "nothing is translated");

    let shown = fixture.json("sandbox inspect router client");
    assert_eq!(shown[0]["forwarding"], true);
    assert_eq!(shown[1]["forwarding"], false);
    fixture.daemon.restart();
    check();
    assert_no_bad_checksums(&remote);
    fixture.assert_clean(&[&router, &client]);
}

#[test]
fn class4_packets_that_a_forwarding_sandbox_forwards_to_the_outside_are_masqueraded() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let (router, remote, client) = routed(&fixture, "--forwarding");
    let defaults = ("default", "default");
    route_via(&client.netns, defaults, router.addresses());
    for device in ["all", "eth0"] {
        client
            .netns
            .sysctl(&format!("net/ipv4/conf/{device}/accept_redirects"), "0");
        let key = format!("net/ipv4/conf/{device}/send_redirects");
        router.netns.sysctl(&key, "0");
    }
    drop_forwarded(fixture.host());
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);
    let seen = [HOST.0, HOST.1];
    // By netpath: the sandbox forwards packets with the addresses of the sibling and of the remote host.
    for netns in [&client.netns, &remote] {
        assert_seen_as(netns, OUTSIDE, 7000, seen);
    }
    let flows = fixture.flows(&["--sandbox", "router"]);
    assert_eq!(flows.len(), 8, "{flows:#?}");
    let blobs = peer::serve_blobs(fixture.outside(), 81);
    for netns in [&client.netns, &remote] {
        for address in [OUTSIDE.0, OUTSIDE.1] {
            peer::exchange(netns, address, 81, 2);
        }
    }
    drop(blobs);
    // By the forwarding sandbox itself.
    for tables in ["iptables", "ip6tables"] {
        router.netns.exec(&format!(
            "{tables} -t nat -A POSTROUTING -o eth0 -j MASQUERADE"
        ));
    }
    for netns in [&client.netns, &remote] {
        assert_seen_as(netns, OUTSIDE, 7000, seen);
    }

    // What cannot be translated does not leave the node.
    for tables in ["iptables", "ip6tables"] {
        router.netns.exec(&format!("{tables} -t nat -F"));
    }
    let dropped = fixture.counted("drop_forwarded");
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let ping = ["ping", "-c", "1", "-W", "1", "-s", "4000", address];
        assert_ne!(remote.run(&ping).status, Some(0), "{address}");
    }
    assert!(fixture.counted("drop_forwarded") >= dropped + 2);
    fixture.assert_clean(&[&client]);
}

#[test]
fn class4_forwarding_sandbox_connects_two_networks() {
    let fixture = Fixture::new();
    fixture.two_networks();
    fixture.cli_ok("sandbox create router --network network_a --network network_b --forwarding");
    let client = fixture.sandbox("client", "network_a", &[]);
    let server = fixture.sandbox("server", "network_b", &[]);
    let _server = peer::serve(&server.netns, "server", &["80"]);
    let requests = peer::tcp_and_udp_requests(server.addresses(), 80);
    peer::assert_no_reply(&client.netns, &requests);

    let shown = fixture.json("sandbox inspect router");
    let addresses = |number: usize| -> Vec<String> {
        let list = shown[0]["endpoints"][number]["addresses"].as_array();
        let list = list.into_iter().flatten().filter_map(|text| text.as_str());
        list.filter_map(|text| Some(text.split('/').next()?.to_owned()))
            .collect()
    };
    for (netns, prefixes, number) in [(&client.netns, NETWORK_B, 0), (&server.netns, NETWORK_A, 1)]
    {
        let via = addresses(number);
        route_via(netns, prefixes, [&via[0], &via[1]]);
    }
    for reply in peer::send_requests(&client.netns, &requests) {
        assert!(
            client.addresses().contains(&reply.peer.as_str()),
            "{reply:?}"
        );
    }
    // A forwarding sandbox that leaves a network no longer forwards from it.
    fixture.cli_ok("network disconnect network_b router");
    peer::assert_no_reply(&client.netns, &requests);
    fixture.assert_clean(&[&client, &server]);
}

#[test]
fn class4_sandbox_without_the_option_forwards_nothing() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let (router, remote, client) = routed(&fixture, "");
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        router.netns.sysctl(key, "1");
    }
    let _servers = [
        peer::serve(&remote, "remote", &["80"]),
        peer::serve(&client.netns, "client", &["80"]),
    ];
    let before = ["drop_not_gateway", "drop_spoofed"].map(|reason| fixture.counted(reason));
    let requests = peer::tcp_and_udp_requests([REMOTE.0, REMOTE.1], 80);
    peer::assert_no_reply(&client.netns, &requests);
    let requests = peer::tcp_and_udp_requests(client.addresses(), 80);
    peer::assert_no_reply(&remote, &requests);
    let after = ["drop_not_gateway", "drop_spoofed"].map(|reason| fixture.counted(reason));
    for (before, after) in before.into_iter().zip(after) {
        assert!(after >= before + 4, "{before} {after}");
    }
    fixture.assert_clean(&[&client]);
}

#[test]
fn class4_forwarding_sandbox_cannot_forge_addresses_of_the_node() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let (router, remote, client) = routed(&fixture, "--forwarding");
    let _server = peer::serve(&client.netns, "client", &["80"]);
    let before = fixture.counted("drop_spoofed");
    router
        .netns
        .exec(&format!("ip addr add {}/32 dev lo", HOST.0));
    let forged = Request::new(SocketType::Udp, &client.v4, 80).source_address(HOST.0);
    peer::assert_no_reply(&router.netns, &[forged]);
    router
        .netns
        .exec(&format!("ip addr del {}/32 dev lo", HOST.0));
    // Hosts beyond the forwarding sandbox do not reach the node.
    let to_node = peer::tcp_and_udp_requests([HOST.0, HOST.1], 22);
    peer::assert_no_reply(&remote, &to_node);
    assert!(fixture.counted("drop_spoofed") >= before + 5);
    fixture.assert_clean(&[&client]);
}

#[test]
fn class4_forwarding_needs_a_network() {
    let fixture = Fixture::new();
    for network in ["host", "none"] {
        let refused = fixture.cli(&format!(
            "sandbox create s --network {network} --forwarding"
        ));
        assert_eq!(refused.status, Some(1));
        assert!(refused.stderr.contains("forwarding"), "{}", refused.stderr);
    }
}
