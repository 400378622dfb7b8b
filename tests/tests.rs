//! Tests of the harness. They need root.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    time::Duration,
};

use crate::{fixture::Topology, *};

fn connect(from: &Netns, to: &Netns, ip: &str) {
    let ip: IpAddr = ip.parse().expect("address");
    let listener = to.enter(|| TcpListener::bind(SocketAddr::new(ip, 0)).expect("bind"));
    let target = listener.local_addr().expect("address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.write_all(b"hello").expect("write");
    });
    let mut text = String::new();
    let stream = from.enter(|| TcpStream::connect_timeout(&target, Duration::from_secs(5)));
    stream
        .expect("connect")
        .read_to_string(&mut text)
        .expect("read");
    assert_eq!(text, "hello");
    server.join().expect("server");
}

fn reaches_in_both_families(topology: &Topology) {
    for ip in ["192.0.2.2", "2001:db8:2::2"] {
        connect(&topology.host, &topology.outside, ip);
    }
    for ip in ["192.0.2.1", "2001:db8:2::1"] {
        connect(&topology.outside, &topology.host, ip);
    }
}

#[test]
fn host_and_outside_are_connected() {
    let topology = Topology::new();
    reaches_in_both_families(&topology);
    topology.assert_clean();
    assert!(counters(&topology.host)["TcpInSegs"] > 0);
    assert!(counters(&topology.host).contains_key("Udp6InCsumErrors"));
}

#[test]
fn full_topology_is_connected_without_offloads() {
    let topology = Topology::builder()
        .neighbour()
        .second_uplink()
        .without_offloads()
        .mtu(1400)
        .build();
    reaches_in_both_families(&topology);
    let neighbour = topology.neighbour.as_ref().expect("neighbour");
    connect(neighbour, &topology.host, "192.0.2.1");
    connect(&topology.outside, neighbour, "2001:db8:2::3");
    let second = topology.second.as_ref().expect("second");
    connect(second, &topology.host, "198.51.100.1");
    connect(&topology.host, second, "2001:db8:51::2");
    let features = topology.host.exec("ethtool -k eth0");
    assert!(features.contains("tcp-segmentation-offload: off"));
    assert!(topology.host.exec("ip link show eth0").contains("mtu 1400"));
}

#[test]
fn processes_run_in_their_namespace_and_are_killed() {
    let host = Netns::with_cgroup("programs");
    let mut server = host.spawn("python3 -u -m http.server 8000");
    server.wait_for_port(&host, Transport::Tcp, 8000);
    let pid = server.pid();
    assert!(!Netns::new("other").listens(Transport::Tcp, 8000));
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    assert!(
        cgroup.contains(&format!(
            "0::/{}",
            host.cgroup()
                .expect("cgroup")
                .file_name()
                .expect("name")
                .to_string_lossy()
        )),
        "{cgroup}"
    );
    drop(server);
    assert!(!host.listens(Transport::Tcp, 8000));
    let mut failing = host.spawn("sh -c exit");
    assert_eq!(failing.wait(Duration::from_secs(5)), Some(0));
    assert_eq!(
        host.run(&["sh", "-c", "echo no >&2; exit 3"]).failure(3),
        "no\n"
    );
    let socket = host.enter(|| UdpSocket::bind("0.0.0.0:5000").expect("bind"));
    host.wait_for_port(Transport::Udp, 5000);
    drop(socket);
}

#[test]
fn panic_leaves_no_namespace() {
    let paths = std::sync::Mutex::new(Vec::new());
    let outcome = std::panic::catch_unwind(|| {
        let topology = Topology::new();
        let cgroup = topology.host.cgroup().expect("cgroup").to_owned();
        let _sleep = topology.host.spawn("sleep 100");
        paths.lock().expect("paths").extend([
            topology.host.path(),
            topology.outside.path(),
            cgroup,
        ]);
        panic!("as planned");
    });
    assert!(outcome.is_err());
    let paths: Vec<PathBuf> = paths.into_inner().expect("paths");
    assert_eq!(paths.len(), 3);
    for path in paths {
        assert!(!path.exists(), "{}", path.display());
    }
}

#[test]
fn assert_no_netfilter_finds_a_nat_rule() {
    for rules in [
        "nft add table ip t; nft add chain ip t c { type nat hook postrouting priority 0 \\; }",
        "iptables-legacy -t nat -A POSTROUTING -j MASQUERADE",
        "iptables-nft -t nat -A POSTROUTING -j MASQUERADE",
    ] {
        let netns = Netns::new("nat");
        assert_no_netfilter(&netns);
        netns.run(&["sh", "-c", rules]).success();
        let outcome = std::panic::catch_unwind(|| assert_no_netfilter(&netns));
        assert!(outcome.is_err(), "{rules}");
    }
}

#[test]
fn capture_shows_packets_and_is_kept_on_failure() {
    let topology = Topology::new();
    let outcome = std::panic::catch_unwind(|| {
        let capture = Capture::start(&topology.outside, "eth0");
        connect(&topology.host, &topology.outside, "192.0.2.2");
        let packets = capture.packets(&topology.outside, &["tcp[tcpflags] & tcp-syn != 0"]);
        assert!(packets.contains("192.0.2.1"), "{packets}");
        panic!("as planned");
    });
    assert!(outcome.is_err());
    let kept = artifacts();
    let found = kept.join(format!("{}-eth0.pcap", topology.outside.name()));
    assert!(found.metadata().is_ok_and(|found| found.len() > 100));
    std::fs::remove_dir_all(kept).expect("artifacts");
}

/// A replacement for the program. It creates a file as socket, a directory as pin, and a device; `teardown` removes
/// each. The socket file contains the process identifier, so that the socket of a killed process does not answer.
const STAND_IN: &str = r#"#!/bin/sh
socket=$2; shift 2
run=$(dirname "$socket")
case "$1" in
daemon)
    trap 'exit 0' TERM
    echo "$@" >> "$run/../started"
    [ -e /sys/class/net/npb-1 ] || ip link add name npb-1 type bridge 2>/dev/null
    mkdir -p "$run/../bpf/netpath"
    echo $$ > "$socket"
    while :; do sleep 0.01; done ;;
status) kill -0 "$(cat "$socket")" ;;
network) echo '[{"name":"bridge"}]' ;;
teardown) [ -e "$run/forget" ] || ip link del npb-1; rm -f "$socket" ;;
esac
"#;

fn stand_in(directory: &std::path::Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join("netpath");
    std::fs::write(&path, STAND_IN).expect("script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    path
}

#[test]
fn daemon_is_started_killed_restarted_and_torn_down() {
    let scripts = tempfile::tempdir().expect("directory");
    let topology = Topology::new();
    let mut daemon = Daemon::builder(&topology.host)
        .binary(&stand_in(scripts.path()))
        .argument("--node=a")
        .config("node = \"a\"\n")
        .start();
    assert_eq!(daemon.json(&["network", "ls"])[0]["name"], "bridge");
    daemon.kill9();
    daemon.restart();
    daemon.restart();
    let started = std::fs::read_to_string(daemon.run_dir().join("../started")).expect("file");
    assert_eq!(started.lines().count(), 3);
    for word in [
        "--node=a",
        "--config",
        "--cgroup",
        "--run-dir",
        "--state-dir",
        "--bpf-dir",
    ] {
        assert!(started.contains(word), "{started}");
    }
    let directory = daemon.run_dir();
    daemon.teardown();
    assert!(!directory.exists());
}

#[test]
fn drop_reports_what_a_daemon_leaves() {
    let scripts = tempfile::tempdir().expect("directory");
    let topology = Topology::new();
    let daemon = Daemon::builder(&topology.host)
        .binary(&stand_in(scripts.path()))
        .start();
    let directory = daemon.run_dir();
    std::fs::write(directory.join("forget"), "").expect("file");
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(daemon)));
    let panic = dropped.expect_err("a device is left");
    let message = panic.downcast_ref::<String>().expect("message");
    assert!(
        message.contains("a device is left after teardown"),
        "{message}"
    );
    assert!(!directory.exists());
}
