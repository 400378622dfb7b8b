//! Overlay networks of a cluster: networks, addresses and nodes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use netpath_tests::{
    Transport,
    cluster::Cluster,
    eventually,
    fixture::{EchoClient, serve_echo},
};
use serde_json::Value;

#[test]
fn overlay_network_is_usable_on_every_node_until_its_removal() {
    let cluster = Cluster::start(2);
    let [one, two] = &cluster.nodes[..] else {
        panic!("two nodes");
    };
    one.ok(
        "network create web --driver overlay --subnet 10.77.0.0/22 --vni 5000 --label tier=front",
    );
    two.wait_for_network("web");
    let shown = &two.json("network inspect web")[0];
    assert_eq!(shown["driver"], "overlay");
    assert_eq!(shown["scope"], "global");
    assert_eq!(
        (&shown["vni"], &shown["encap"]),
        (&5000.into(), &"vxlan".into())
    );
    assert_eq!(shown["labels"]["tier"], "front");

    for (line, reason) in [
        ("web --driver overlay", "exists"),
        ("web", "exists"),
        ("b --driver overlay --vni 5000", "'web' has it"),
        (
            "b --driver overlay --subnet 10.77.2.0/24",
            "overlaps 10.77.0.0/22 of network 'web'",
        ),
        ("b --driver overlay --subnet 192.0.2.0/25", "overlaps"),
        ("b --subnet 10.77.3.0/24", "overlaps"),
        ("b --driver overlay --encap none", "not supported"),
        ("b --driver overlay --vni 0", "between 1 and 16777215"),
        (
            "b --driver overlay --gateway-mode routed",
            "--gateway-mode routed",
        ),
        ("b --encap vxlan", "only overlay networks have one"),
    ] {
        let error = two.refused(&format!("network create {line}"));
        assert!(error.contains(reason), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    one.ok("sandbox create a --network web");
    two.ok("sandbox create b --network web");
    let addresses: BTreeSet<String> = one
        .addresses("web")
        .into_iter()
        .chain(two.addresses("web"))
        .collect();
    assert_eq!(addresses.len(), 2);
    let mac = &two.json("sandbox inspect b")[0]["endpoints"][0];
    let octets: Vec<u8> = mac["addresses"][0]
        .as_str()
        .and_then(|text| text.split('/').next())
        .expect("address")
        .split('.')
        .map(|octet| octet.parse().expect("octet"))
        .collect();
    let derived = format!(
        "02:42:{:02x}:{:02x}:{:02x}:{:02x}",
        octets[0], octets[1], octets[2], octets[3]
    );
    assert_eq!(mac["mac"], derived.as_str());

    let error = one.refused("network rm web");
    assert!(error.contains("in use by 'a'"), "{error}");
    one.ok("sandbox rm a");
    let error = one.refused("network rm web");
    assert!(error.contains("in use on node 'n2'"), "{error}");
    two.ok("sandbox rm b");
    one.ok("network rm web");
    eventually("the network is gone", 10, || {
        two.cli("network inspect web").status == Some(1)
    });
    let left = two.json("network ls");
    let names: Vec<&Value> = left
        .as_array()
        .expect("list")
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["bridge", "host", "none"]);
}

#[test]
fn requested_addresses_are_unique_in_the_cluster() {
    let cluster = Cluster::start(2);
    let [one, two] = &cluster.nodes[..] else {
        panic!("two nodes");
    };
    one.ok("network create web --driver overlay --subnet 10.77.0.0/24");
    two.wait_for_network("web");
    // The first block of the subnet.
    one.ok("sandbox create a --network web");
    let error = two.refused("sandbox create b --network web --ip 10.77.0.9");
    assert!(error.contains("belongs to node 'n1'"), "{error}");
    two.ok("sandbox create b --network web --ip 10.77.0.200");
    let error = one.refused("sandbox create c --network web --ip 10.77.0.200");
    assert!(error.contains("belongs to node 'n2'"), "{error}");
    let error = two.refused("sandbox create c --network web --ip 10.77.0.200");
    assert!(error.contains("taken by sandbox 'b'"), "{error}");
    two.ok("sandbox rm b");
    one.ok("sandbox create c --network web --ip 10.77.0.200");
    one.ok("sandbox create d --network web --mac 02:00:5e:00:53:01");
    let error = one.refused("sandbox create e --network web --mac 02:42:01:02:03:04");
    assert!(error.contains("belongs to another address"), "{error}");
    assert_eq!(one.addresses("web").len(), 3);
}

#[test]
fn full_blocks_are_followed_by_others_and_then_by_one_error() {
    let cluster = Cluster::start(2);
    let [one, two] = &cluster.nodes[..] else {
        panic!("two nodes");
    };
    // Four blocks of four addresses. The network, gateway and broadcast address are in the first and the last block.
    one.ok("network create web --driver overlay --subnet 10.77.0.0/28");
    two.wait_for_network("web");
    two.ok("sandbox create other --network web");
    for number in 0..11 {
        one.ok(&format!("sandbox create s{number} --network web"));
    }
    let error = one.refused("sandbox create s11 --network web");
    assert!(
        error.contains("no address of network 'web' is free on this node"),
        "{error}"
    );
    let mut all: BTreeSet<String> = one.addresses("web").into_iter().collect();
    all.extend(two.addresses("web"));
    assert_eq!(all.len(), 12);
    one.ok("sandbox rm s3");
    one.ok("sandbox create s11 --network web");
}

#[test]
fn concurrent_requests_on_three_nodes_get_different_addresses() {
    let cluster = Cluster::start(3);
    cluster.nodes[0].ok("network create web --driver overlay --subnet 10.77.0.0/24");
    for node in &cluster.nodes {
        node.wait_for_network("web");
    }
    let outputs = cluster.in_parallel(34, |_, call| {
        format!("sandbox create s{call} --network web")
    });
    for output in outputs {
        output.success();
    }
    let all: Vec<String> = cluster
        .nodes
        .iter()
        .flat_map(|node| node.addresses("web"))
        .collect();
    let unique: BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), unique.len()), (102, 102));

    let outputs = cluster.in_parallel(34, |_, call| format!("sandbox rm s{call}"));
    for output in outputs {
        output.success();
    }
    cluster.nodes[2].ok("network rm web");
}

#[test]
fn nodes_are_listed_and_one_that_is_gone_is_removed() {
    let mut cluster = Cluster::start(3);
    cluster.nodes[0].ok("network create web --driver overlay");
    cluster.nodes[2].wait_for_network("web");
    cluster.nodes[2].ok("sandbox create a --network web");
    let [one, _, three] = &mut cluster.nodes[..] else {
        panic!("three nodes");
    };
    let node = |name: &str| one.json(&format!("node inspect {name}"))[0].clone();
    eventually("every node is ready", 20, || {
        let nodes = one.json("node ls");
        let nodes = nodes.as_array().expect("list");
        nodes.len() == 3 && nodes.iter().all(|node| node["state"] == "ready")
    });
    eventually("the claim is known", 10, || {
        node("n3")["networks"] == serde_json::json!(["web"])
    });
    assert_eq!(node("n3")["addresses"], serde_json::json!(["192.0.2.3"]));
    assert_eq!(node("n3")["last_seen_s"], 0);
    assert!(node("n3")["version"].is_string());
    let error = one.refused("node rm n1");
    assert!(error.contains("it is this node"), "{error}");
    let error = one.refused("node rm n3");
    assert!(error.contains("its daemon is running"), "{error}");
    let error = one.refused("node rm n4");
    assert!(error.contains("no node 'n4'"), "{error}");

    three.daemon.kill9();
    eventually("the node is unreachable", 60, || {
        node("n3")["state"] == "unreachable"
    });
    let error = one.refused("network rm web");
    assert!(error.contains("in use on node 'n3'"), "{error}");
    one.ok("node rm n3");
    assert_eq!(node("n3")["state"], "removed");
    assert_eq!(node("n3")["networks"], serde_json::json!([]));
    // It joins again, and keeps the address of its sandbox.
    let before = three.host.name().to_owned();
    three.daemon.restart();
    eventually("the node is ready", 20, || node("n3")["state"] == "ready");
    assert_eq!(three.host.name(), before);
    assert_eq!(three.addresses("web").len(), 1);
    let error = one.refused("network rm web");
    assert!(error.contains("in use on node 'n3'"), "{error}");
    three.ok("sandbox rm a");
    one.ok("network rm web");
}

#[test]
fn second_node_with_a_name_is_refused() {
    let cluster = Cluster::start(1);
    let host = cluster.host(2);
    let mut second = cluster.daemon(&host, "n1", 2).start_unready();
    eventually("the daemon has ended", 30, || {
        second.process().ended().is_some()
    });
    let output = second.process().output();
    second.kill9();
    assert!(
        output.contains("another node of the cluster has the name 'n1'"),
        "{output}"
    );
}

#[test]
fn sandboxes_are_created_while_the_store_is_away() {
    let mut cluster = Cluster::start(2);
    cluster.nodes[0].ok("network create web --driver overlay --subnet 10.77.0.0/22");
    cluster.nodes[1].wait_for_network("web");
    cluster.nodes[0].ok("sandbox create a --network web");
    cluster.stop_store();
    cluster.nodes[0].ok("sandbox create b --network web");
    cluster.nodes[0].ok("sandbox rm a");
    cluster.nodes[0].daemon.restart();
    cluster.nodes[0].ok("sandbox create c --network web");
    let error = cluster.nodes[1].refused("sandbox create d --network web");
    assert_eq!(error.lines().count(), 1, "{error}");
    cluster.start_store();
    eventually("the other node claims a block", 60, || {
        cluster.nodes[1]
            .cli("sandbox create d --network web")
            .status
            == Some(0)
    });
    let mut all: BTreeSet<String> = cluster.nodes[0].addresses("web").into_iter().collect();
    all.extend(cluster.nodes[1].addresses("web"));
    assert_eq!(all.len(), 3);
    eventually("the sandboxes are published", 60, || {
        let shown = &cluster.nodes[1].json("network inspect web")[0];
        shown["sandboxes"] == serde_json::json!(["b", "c", "d"])
    });
}

/// TCP with the default offloads, UDP and ICMP between sandboxes of two nodes, IPv4 and IPv6 inside, also after a restart of a daemon.
#[test]
fn sandboxes_of_two_nodes_reach_each_other() {
    let mut cluster = Cluster::start(2);
    let subnets = "--subnet 10.77.0.0/16 --subnet fd77::/64";
    cluster.nodes[0].ok(&format!("network create web --driver overlay {subnets}"));
    cluster.nodes[1].wait_for_network("web");
    cluster.nodes[0].ok("sandbox create a --network web");
    cluster.nodes[1].ok("sandbox create b --network web");
    let (client, server) = (cluster.nodes[0].sandbox("a"), cluster.nodes[1].sandbox("b"));
    let sources = cluster.nodes[0].addresses("web");
    let targets = cluster.nodes[1].addresses("web");
    assert_eq!(
        (sources.len(), targets.len()),
        (2, 2),
        "{sources:?} {targets:?}"
    );
    serve_echo(&server, 7000, "b");
    let _receiver = server.start(&["iperf3", "-s"]);
    server.wait_for_port(Transport::Tcp, 5201);
    let mut lines = Vec::new();
    for (source, target) in sources.iter().zip(&targets) {
        eventually("the other node is known", 10, || {
            client.run(&["ping", "-c", "1", "-W", "1", target]).status == Some(0)
        });
        let target: IpAddr = target.parse().expect("address");
        let line = client.enter(|| EchoClient::connect(&SocketAddr::new(target, 7000).to_string()));
        let line = line.expect("connection");
        assert_eq!(line.server, "b");
        assert_eq!(line.seen_as, *source, "no translation");
        lines.push(line);
        for mode in [
            &["-t", "1"][..],
            &["-t", "1", "-R"],
            &["-t", "1", "-u", "-b", "50M", "-l", "1200"],
        ] {
            let to = target.to_string();
            let command = [&["iperf3", "-J", "-c", &to], mode].concat();
            let report: Value =
                serde_json::from_str(&client.run(&command).success()).expect("JSON");
            let end = &report["end"];
            let received = end.get("sum_received").unwrap_or(&end["sum"])["bytes"].as_u64();
            assert!(received > Some(5_000_000), "{mode:?}: {end}");
        }
    }
    cluster.nodes[1].daemon.restart();
    cluster.nodes[0].daemon.restart();
    lines.iter_mut().for_each(EchoClient::exchange_line);
}
