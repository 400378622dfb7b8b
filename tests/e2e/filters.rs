//! Programs attached as filters of the clsact qdisc, as on kernels without TCX.

use std::{
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    Daemon, Netns,
    fixture::{Fixture, HOST, NETWORK_A, OUTSIDE, Topology},
    peer, pin_names, slowdown,
};
use serde_json::Value;

const FILTER: [&str; 1] = ["--attach=filter"];

fn fixture() -> Fixture {
    let fixture = Fixture::start(Topology::new(), &FILTER, "");
    fixture.network("network_a", NETWORK_A, &[]);
    fixture
}

/// `PRIORITY NAME` of each BPF filter of a device, in the order in which they run.
fn filters(netns: &Netns, device: &str, direction: &str) -> Vec<String> {
    let text = netns.exec(&format!("tc -json filter show dev {device} {direction}"));
    let list: Value = serde_json::from_str(&text).expect("JSON of tc");
    let filters = list.as_array().into_iter().flatten();
    filters
        .filter_map(|filter| {
            let name = filter["options"]["bpf_name"].as_str()?;
            Some(format!("{} {name}", filter["pref"]))
        })
        .collect()
}

/// The ids of the programs of all filters at a device's ingress.
fn program(netns: &Netns, device: &str) -> u64 {
    let text = netns.exec(&format!("tc -json filter show dev {device} ingress"));
    let list: Value = serde_json::from_str(&text).expect("JSON of tc");
    let mut filters = list.as_array().into_iter().flatten();
    filters
        .find_map(|filter| filter["options"]["prog"]["id"].as_u64())
        .expect("a BPF filter")
}

#[test]
fn filters_carry_traffic_of_every_origin() {
    let fixture = fixture();
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let client = fixture.sandbox("client", "network_a", &[]);
    let _server = peer::serve(&web.netns, "web", &["80"]);
    let _outside = peer::serve(fixture.outside(), "outside", &["7000"]);

    assert_eq!(
        filters(fixture.host(), "eth0", "ingress"),
        ["1 uplink_ingress"]
    );
    assert_eq!(
        filters(fixture.host(), "eth0", "egress"),
        ["1 uplink_egress"]
    );
    let device = &web.host_interface;
    assert_eq!(
        filters(fixture.host(), device, "ingress"),
        ["1 endpoint_in"]
    );
    assert_eq!(
        filters(fixture.host(), device, "egress"),
        ["1 endpoint_out"]
    );
    let status = fixture.daemon.json(&["status"]);
    for program in status["programs"].as_array().into_iter().flatten() {
        let mode = if program["interface"].is_null() {
            "cgroup"
        } else {
            "filter"
        };
        assert_eq!(program["mode"], mode, "{program}");
        assert_eq!(program["attached"], true, "{program}");
    }

    let published = peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080);
    for from in [fixture.outside(), fixture.host(), &client.netns, &web.netns] {
        for reply in peer::send_requests(from, &published) {
            assert_eq!(reply.name, "web", "{reply:?}");
        }
    }
    for reply in peer::send_requests(
        &client.netns,
        &peer::tcp_and_udp_requests([OUTSIDE.0, OUTSIDE.1], 7000),
    ) {
        assert!([HOST.0, HOST.1].contains(&reply.peer.as_str()), "{reply:?}");
    }
    fixture.assert_clean(&[&web, &client]);
}

#[test]
fn restart_replaces_programs_of_filters() {
    let mut fixture = fixture();
    let web = fixture.sandbox("web", "network_a", &["8080:80"]);
    let _server = peer::serve(&web.netns, "web", &["80"]);
    let before = program(fixture.host(), "eth0");
    fixture.daemon.kill9();
    peer::send_requests(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080)[..1],
    );
    fixture.daemon.restart();
    assert_ne!(program(fixture.host(), "eth0"), before);
    assert_eq!(filters(fixture.host(), "eth0", "ingress").len(), 1);
    peer::send_requests(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080)[..1],
    );
}

#[test]
fn removed_filter_or_qdisc_is_repaired_at_its_event() {
    let fixture = Fixture::start(Topology::new(), &FILTER, "reconcile_s = 300\n");
    for damage in [
        "tc filter del dev eth0 ingress",
        "tc filter del dev eth0 egress pref 1",
        "tc qdisc del dev eth0 clsact",
    ] {
        fixture.host().exec(damage);
        fixture.wait_for(damage, || {
            filters(fixture.host(), "eth0", "ingress") == ["1 uplink_ingress"]
                && filters(fixture.host(), "eth0", "egress") == ["1 uplink_egress"]
        });
    }
}

/// The command that adds a filter which matches nothing.
fn foreign<'a>(device: &'a str, direction: &'a str, priority: &'a str) -> [&'a str; 13] {
    const NOTHING: &str = "1,6 0 0 0,";
    [
        "tc", "filter", "add", "dev", device, direction, "pref", priority, "protocol", "all",
        "bpf", "bytecode", NOTHING,
    ]
}

#[test]
fn teardown_keeps_foreign_qdisc_and_filters() {
    let topology = Topology::builder().second_uplink().build();
    let host = topology.host.clone();
    host.exec("tc qdisc add dev eth0 clsact");
    host.run(&foreign("eth0", "ingress", "7")).success();
    let arguments = ["--attach=filter", "--uplink=eth0", "--uplink=eth1"];
    let fixture = Fixture::start(topology, &arguments, "");
    assert_eq!(filters(&host, "eth1", "ingress"), ["1 uplink_ingress"]);
    host.run(&foreign("eth1", "egress", "9")).success();
    let Fixture {
        daemon, topology, ..
    } = fixture;
    daemon.teardown();

    assert!(filters(&host, "eth0", "ingress").is_empty());
    let left = host.exec("tc filter show dev eth0 ingress");
    assert!(left.contains("pref 7 bpf"), "{left}");
    let left = host.exec("tc filter show dev eth1 egress");
    assert!(left.contains("pref 9 bpf"), "{left}");
    assert!(!left.contains("uplink_egress"), "{left}");
    drop(topology);
}

#[test]
fn teardown_removes_own_qdisc() {
    let Fixture {
        daemon, topology, ..
    } = fixture();
    let qdiscs = || topology.host.exec("tc qdisc show dev eth0");
    assert!(qdiscs().contains("clsact"));
    daemon.teardown();
    assert!(!qdiscs().contains("clsact"), "{}", qdiscs());
}

#[test]
fn forced_teardown_of_killed_daemon_removes_filters() {
    let Fixture {
        mut daemon,
        topology,
        ..
    } = fixture();
    daemon.kill9();
    daemon.teardown();
    let left = topology.host.exec("tc qdisc show dev eth0");
    assert!(!left.contains("clsact"), "{left}");
}

#[test]
fn ingress_qdisc_is_reported_with_the_command_that_replaces_it() {
    let topology = Topology::new();
    topology.host.exec("tc qdisc add dev eth0 ingress");
    let mut daemon = Daemon::builder(&topology.host)
        .argument(FILTER[0])
        .start_unready();
    let start = Instant::now();
    while !daemon
        .process()
        .output()
        .contains("tc qdisc replace dev eth0 clsact")
    {
        assert!(
            start.elapsed() < Duration::from_secs(10) * slowdown(),
            "no message"
        );
        thread::sleep(Duration::from_millis(50));
    }
    topology.host.exec("tc qdisc del dev eth0 ingress");
    daemon.wait_ready();
    assert_eq!(
        filters(&topology.host, "eth0", "egress"),
        ["1 uplink_egress"]
    );
    daemon.teardown();
}

#[test]
fn changed_attachment_mode_leaves_one_program() {
    let mut fixture = fixture();
    if fixture.daemon.json(&["status"])["features"]["tcx"] == false {
        eprintln!("skipped: this kernel has no TCX links");
        return;
    }
    let links = |fixture: &Fixture| {
        let pins = pin_names(&fixture.daemon.bpf_dir().join("links")).into_iter();
        pins.filter(|pin| pin.starts_with("eth0-uplink_ingress"))
            .count()
    };
    for (argument, count) in [("--attach=tcx", 0), (FILTER[0], 1)] {
        fixture.daemon.restart_with(&[argument]);
        let filters = filters(fixture.host(), "eth0", "ingress");
        assert_eq!(filters.len(), count, "{argument}: {filters:?}");
        assert_eq!(links(&fixture), 1 - count, "{argument}");
    }
}
