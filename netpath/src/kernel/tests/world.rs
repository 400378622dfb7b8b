//! Namespaces, sysctls, mounts, events, listeners.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    time::Duration,
};

use super::{super::*, Scratch, in_fresh_namespaces, ip, run};
use crate::model::Protocol;

#[test]
fn namespace_is_created_listed_and_removed() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("netns");
        let directory = scratch.0.join("netns");
        let (first, second) = (directory.join("a"), directory.join("b"));
        netns::create(&first).expect("create");
        netns::create(&second).expect("create");
        let inode = netns::inode(&first).expect("inode").expect("a namespace");
        netns::create(&first).expect("create again");
        assert_eq!(netns::inode(&first).expect("inode"), Some(inode));
        assert_ne!(netns::inode(&second).expect("inode"), Some(inode));
        std::fs::write(directory.join("file"), "x").expect("file");
        assert_eq!(
            netns::list(&directory).expect("list"),
            [first.clone(), second]
        );
        assert_eq!(netns::inode(&directory.join("file")).expect("inode"), None);
        assert_eq!(
            netns::inode("/proc/self/ns/mnt".as_ref()).expect("inode"),
            None
        );

        let file = netns::open(&first).expect("open");
        let (own, loopback) = netns::run_in(&file, "a", || {
            (
                netns::current_inode().expect("inode"),
                ip("-o link show lo"),
            )
        })
        .await
        .expect("run");
        assert_eq!(own, inode);
        assert!(loopback.contains("UP"), "{loopback}");
        drop(file);

        netns::delete(&first).expect("delete");
        netns::delete(&first).expect("delete again");
        assert_eq!(netns::inode(&first).expect("inode"), None);
        netns::delete_directory(&directory).expect("delete directory");
        netns::delete_directory(&directory).expect("delete directory again");
        assert!(!directory.exists());
    });
}

#[test]
fn interrupted_namespace_creation_is_completed() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("half");
        let path = scratch.0.join("netns/a");
        std::fs::create_dir_all(scratch.0.join("netns")).expect("directory");
        std::fs::write(&path, "").expect("file");
        netns::create(&path).expect("create");
        assert!(netns::inode(&path).expect("inode").is_some());
    });
}

#[test]
fn each_namespace_has_its_own_cookie() {
    let own = netns::cookie().expect("cookie");
    assert_ne!(own, 0);
    in_fresh_namespaces(move || async move {
        assert_ne!(netns::cookie().expect("cookie"), own);
    });
}

#[test]
fn sysctls_apply_to_the_calling_namespace() {
    in_fresh_namespaces(|| async {
        sysctl::write("net/ipv4/ip_local_port_range", "40000 50000").expect("write");
        assert_eq!(
            listeners::local_port_range().expect("range"),
            (40000, 50000)
        );
        let error = sysctl::read("net/ipv4/conf/none/forwarding").expect_err("absent");
        assert!(
            error
                .to_string()
                .contains("/proc/sys/net/ipv4/conf/none/forwarding")
        );
    });
}

#[test]
fn listeners_are_found_with_their_owner() {
    in_fresh_namespaces(|| async {
        ip("link set lo up");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
        let udp = UdpSocket::bind("[::]:0").expect("bind");
        let port = tcp.local_addr().expect("address").port();
        let localhost = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let who = listeners::listening(Protocol::Tcp, localhost, port)
            .expect("diag")
            .expect("a listener");
        assert!(
            who.ends_with(&format!("(pid {})", std::process::id())),
            "{who}"
        );
        let ask = |protocol, ip, port| {
            listeners::listening(protocol, ip, port)
                .expect("diag")
                .is_some()
        };
        assert!(ask(Protocol::Tcp, None, port));
        assert!(!ask(
            Protocol::Tcp,
            Some("192.0.2.1".parse().expect("ip")),
            port
        ));
        assert!(!ask(Protocol::Udp, None, port));
        assert!(!ask(Protocol::Sctp, None, port));
        let port = udp.local_addr().expect("address").port();
        assert!(ask(Protocol::Udp, localhost, port), "a dual-stack socket");
        drop(tcp);
        drop(udp);
        assert!(!ask(Protocol::Udp, None, port));
    });
}

#[test]
fn bpffs_is_mounted_once() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("bpffs");
        let directory = scratch.0.join("bpf");
        mounts::mount_bpffs(&directory).expect("mount");
        assert!(mounts::is_bpffs(&directory).expect("statfs"));
        std::fs::create_dir(directory.join("node")).expect("directory");
        mounts::mount_bpffs(&directory.join("node")).expect("already there");
        assert!(directory.join("node").exists());
        assert!(!mounts::is_bpffs(&scratch.0).expect("statfs"));
        let cgroup = mounts::cgroup2().expect("mountinfo").expect("cgroup v2");
        assert!(cgroup.join("cgroup.procs").exists(), "{cgroup:?}");
    });
}

async fn expect_event(watch: &mut Watch, what: &str, wanted: impl Fn(&Event) -> bool) {
    let search = async { while !wanted(&watch.next().await.expect("event")) {} };
    tokio::time::timeout(Duration::from_secs(5), search)
        .await
        .unwrap_or_else(|_| panic!("no event: {what}"));
}

#[test]
fn changes_cause_events() {
    in_fresh_namespaces(|| async {
        let mut watch = Watch::open().expect("watch");
        ip("link add name br0 type bridge");
        ip("link add name v0 type veth peer name v1");
        ip("link set v0 master br0 up");
        expect_event(
            &mut watch,
            "device",
            |event| matches!(event, Event::LinkChanged { name, gone: false, .. } if name == "v0"),
        )
        .await;
        ip("addr add 192.0.2.1/24 dev br0");
        ip("link set br0 up");
        expect_event(&mut watch, "address", |event| {
            matches!(event, Event::AddressChanged { .. })
        })
        .await;
        ip("route add 198.51.100.0/24 via 192.0.2.2");
        expect_event(&mut watch, "route", |event| *event == Event::RouteChanged).await;
        run("tc", "qdisc add dev v0 clsact");
        run("tc", "qdisc del dev v0 clsact");
        let index = link_index("v0").expect("index");
        expect_event(&mut watch, "queueing discipline", |event| {
            *event == Event::FilterRemoved { index }
        })
        .await;
        ip("link set v0 nomaster");
        ip("link set v0 alias seen");
        ip("link del br0");
        let mut gone = Vec::new();
        let search = async {
            loop {
                if let Event::LinkChanged {
                    name, gone: true, ..
                } = watch.next().await.expect("event")
                {
                    gone.push(name.clone());
                    if name == "br0" {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), search)
            .await
            .expect("event about the removal of br0");
        assert_eq!(gone, ["br0"], "a port that leaves a bridge still exists");
    });
}

#[test]
fn lost_events_are_reported() {
    in_fresh_namespaces(|| async {
        let mut watch = Watch::with_receive_buffer(4096).expect("watch");
        for round in 0..20 {
            ip(&format!("link add name br{round} type bridge"));
        }
        expect_event(&mut watch, "loss", |event| *event == Event::Lost).await;
        ip("link add name last type bridge");
        expect_event(
            &mut watch,
            "device after the loss",
            |event| matches!(event, Event::LinkChanged { name, .. } if name == "last"),
        )
        .await;
    });
}
