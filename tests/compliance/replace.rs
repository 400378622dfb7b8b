//! Removed and replaced sandboxes.

use std::{
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    fixture::{BpfObjects, Fixture, HOST, LOOPBACK, NETWORK_A, OUTSIDE},
    peer::{self, Request, SocketType},
};

use crate::{
    datagrams::Datagrams,
    gate::{Offloads, run_in_parallel},
};

/// H-3: a client of a published UDP port that always sends from one port reaches the sandbox that publishes the port at
/// that time, also if it sent before the port was published.
pub fn datagrams(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let clients = [(HOST.0, OUTSIDE.0), (HOST.1, OUTSIDE.1)]
        .map(|(host, own)| (host, Datagrams::bind(fixture.outside(), own, 5353)));
    let send = |text: &str| {
        for (host, client) in &clients {
            client.send((host, 8080), text);
        }
    };
    send("before the port is published");
    for name in ["first", "second", "third"] {
        // The host's port differs from the sandbox's, and belongs to a range.
        let sandbox = fixture.sandbox(name, "network_a", &["8000-8100:9000-9100/udp"]);
        let server = peer::serve(&sandbox.netns, name, &["9080"]);
        let start = Instant::now();
        for (host, client) in &clients {
            loop {
                client.send((host, 8080), "who?");
                let reply = client.try_receive(Duration::from_millis(200));
                if reply.is_some_and(|(text, _)| text.contains(name)) {
                    break;
                }
                let waited = start.elapsed();
                assert!(waited < Duration::from_secs(2), "{host}: not {name} yet");
            }
        }
        send("once more");
        drop(server);
        fixture.daemon.cli(&["sandbox", "rm", name]).success();
        for _ in 0..5 {
            send("while the port is unpublished");
            thread::sleep(Duration::from_millis(20));
        }
        for (_, client) in &clients {
            while client.try_receive(Duration::from_millis(50)).is_some() {}
        }
    }
    assert_eq!(fixture.flows(&[]).len(), 0, "flows of removed sandboxes");
    fixture.assert_clean(&[]);
}

/// The network configuration of a host.
fn network_configuration(fixture: &Fixture) -> Vec<String> {
    let commands = [
        "ip -o addr",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
        "nft list ruleset",
        "tc qdisc show",
        "tc filter show dev eth0 ingress",
        "tc filter show dev eth0 egress",
        "bpftool net show",
        "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.ip_local_port_range \
         net.ipv4.conf.all.route_localnet net.ipv4.conf.eth0.route_localnet",
    ];
    let run = |command: &&str| fixture.host().exec(command);
    commands.iter().map(run).collect()
}

/// H-7: everything works after the daemon was killed, and nothing is left after teardown.
pub fn cleanup(offloads: Offloads) {
    run_in_parallel(
        offloads,
        &[
            |offloads| teardown(offloads, false),
            |offloads| teardown(offloads, true),
        ],
    );
}

fn teardown(offloads: Offloads, force: bool) {
    let mut fixture = offloads.fixture();
    // The uplinks are recreated, so that the configuration without a daemon is known.
    fixture.daemon.cli(&["teardown"]).success();
    fixture.daemon.stop();
    let before = network_configuration(&fixture);
    fixture.daemon.restart();
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let server = peer::serve(&web.netns, "web", &["80"]);
    let objects = BpfObjects::of(
        fixture.daemon.bpf_dir(),
        fixture.daemon.process().pid(),
        fixture.host(),
    );
    let requests =
        |pair: (&'static str, &'static str)| peer::tcp_and_udp_requests([pair.0, pair.1], 8080);
    peer::send_requests(fixture.outside(), &requests(HOST));
    fixture.daemon.kill9();
    peer::send_requests(fixture.outside(), &requests(HOST));
    peer::send_requests(fixture.host(), &requests(LOOPBACK));
    let _outside = peer::serve(fixture.outside(), "outside", &["7000"]);
    for to in [OUTSIDE.0, OUTSIDE.1] {
        peer::send_request(&web.netns, &Request::new(SocketType::Tcp, to, 7000));
    }
    drop(server);
    if !force {
        fixture.daemon.restart();
        fixture.daemon.cli(&["teardown"]).success();
        fixture.daemon.stop();
    } else {
        let mut command = vec!["teardown".to_owned(), "--force".to_owned()];
        for (flag, path) in [
            ("--run-dir", fixture.daemon.run_dir()),
            ("--state-dir", fixture.daemon.state_dir()),
            ("--bpf-dir", fixture.daemon.bpf_dir()),
        ] {
            command.extend([flag.to_owned(), path.display().to_string()]);
        }
        fixture.daemon.cli(&command).success();
    }
    objects.assert_gone();
    for (was, is) in before.iter().zip(network_configuration(&fixture)) {
        assert_eq!(*was, is, "teardown left a difference");
    }
    fixture.topology.assert_clean();
}
