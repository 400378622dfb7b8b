//! Sandboxes that go, and what stays of them.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    datagrams::Datagrams,
    gate::{Offloads, at_once},
    peer::{self, How, Question},
    stage::{HOST, LOOPBACK, OUTSIDE, SHOP, Stage},
    traces::Traces,
};

/// H-3: the client of a published UDP port, which sends from one port all the time, reaches whatever sandbox has the
/// port now, though it sent before there was one and while there was none.
pub fn datagrams(offloads: Offloads) {
    let stage = offloads.stage();
    stage.network("shop", SHOP, &[]);
    let clients = [(HOST.0, OUTSIDE.0), (HOST.1, OUTSIDE.1)]
        .map(|(host, own)| (host, Datagrams::bind(stage.outside(), own, 5353)));
    let ask = |text: &str| {
        for (host, client) in &clients {
            client.send((host, 8080), text);
        }
    };
    ask("before there is any");
    for name in ["first", "second", "third"] {
        // The port of the node is another one than the sandbox's, and stands in a range.
        let sandbox = stage.sandbox(name, "shop", &["8000-8100:9000-9100/udp"]);
        let server = peer::serve(&sandbox.netns, name, &["9080"]);
        let start = Instant::now();
        for (host, client) in &clients {
            loop {
                client.send((host, 8080), "who?");
                let answer = client.try_receive(Duration::from_millis(200));
                if answer.is_some_and(|(text, _)| text.contains(name)) {
                    break;
                }
                let waited = start.elapsed();
                assert!(waited < Duration::from_secs(2), "{host}: not {name} yet");
            }
        }
        ask("once more");
        drop(server);
        stage.daemon.cli(&["sandbox", "rm", name]).success();
        for _ in 0..5 {
            ask("while there is none");
            thread::sleep(Duration::from_millis(20));
        }
        for (_, client) in &clients {
            while client.try_receive(Duration::from_millis(50)).is_some() {}
        }
    }
    assert_eq!(
        stage.flows(&[]).len(),
        0,
        "flows of sandboxes that are gone"
    );
    stage.assert_clean(&[]);
}

/// What a host shows of its network.
fn shown(stage: &Stage) -> Vec<String> {
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
    let run = |command: &&str| stage.host().exec(command);
    commands.iter().map(run).collect()
}

/// H-7: after the daemon's death everything works, and after teardown nothing is left.
pub fn cleanup(offloads: Offloads) {
    at_once(
        offloads,
        &[
            |offloads| teardown(offloads, false),
            |offloads| teardown(offloads, true),
        ],
    );
}

fn teardown(offloads: Offloads, force: bool) {
    let mut stage = offloads.stage();
    // Made once more, so that what the host had before the daemon can be seen.
    stage.daemon.cli(&["teardown"]).success();
    stage.daemon.stop();
    let before = shown(&stage);
    stage.daemon.restart();
    stage.network("shop", SHOP, &[]);
    let web = stage.sandbox("web", "shop", &["8080:80", "8080:80/udp"]);
    let server = peer::serve(&web.netns, "web", &["80"]);
    let traces = Traces::of(
        stage.daemon.bpf_dir(),
        stage.daemon.process().pid(),
        stage.host(),
    );
    let questions = |pair: (&'static str, &'static str)| peer::both_ways([pair.0, pair.1], 8080);
    peer::ask_all(stage.outside(), &questions(HOST));
    stage.daemon.kill9();
    peer::ask_all(stage.outside(), &questions(HOST));
    peer::ask_all(stage.host(), &questions(LOOPBACK));
    let _outside = peer::serve(stage.outside(), "outside", &["7000"]);
    for to in [OUTSIDE.0, OUTSIDE.1] {
        peer::ask(&web.netns, &Question::new(How::Tcp, to, 7000));
    }
    drop(server);
    if !force {
        stage.daemon.restart();
        stage.daemon.cli(&["teardown"]).success();
        stage.daemon.stop();
    } else {
        let mut command = vec!["teardown".to_owned(), "--force".to_owned()];
        for (flag, path) in [
            ("--run-dir", stage.daemon.run_dir()),
            ("--state-dir", stage.daemon.state_dir()),
            ("--bpf-dir", stage.daemon.bpf_dir()),
        ] {
            command.extend([flag.to_owned(), path.display().to_string()]);
        }
        stage.daemon.cli(&command).success();
    }
    traces.assert_gone();
    for (was, is) in before.iter().zip(shown(&stage)) {
        assert_eq!(*was, is, "something is left");
    }
    stage.topology.assert_clean();
}
