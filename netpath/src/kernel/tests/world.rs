//! Namespaces, sysctls, mounts, events, listeners.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    time::Duration,
};

use super::{super::*, Scratch, in_fresh_namespaces, ip, run};
use crate::model::{NetnsId, Protocol};

#[test]
fn namespace_is_created_listed_and_removed() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("netns");
        let directory = scratch.0.join("netns");
        let (first, second) = (directory.join("a"), directory.join("b"));
        netns::create(&first, false).expect("create");
        netns::create(&second, false).expect("create");
        let inode = netns::inode(&first).expect("inode").expect("a namespace");
        netns::create(&first, false).expect("create again");
        assert_eq!(netns::inode(&first).expect("inode"), Some(inode));
        assert_ne!(netns::inode(&second).expect("inode"), Some(inode));
        std::fs::write(directory.join("file"), "x").expect("file");
        let mut entries = netns::entries(&directory).expect("list");
        entries.sort();
        assert_eq!(entries, [first.clone(), second, directory.join("file")]);
        assert!(netns::is_left_over(&directory.join("file")).expect("inode"));
        assert!(!netns::is_left_over(&first).expect("inode"));
        assert!(!netns::is_left_over(&directory.join("none")).expect("inode"));
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
fn class5_namespace_with_the_same_inode_number_is_another_one() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("identity");
        let first = scratch.0.join("netns/a");
        netns::create(&first, false).expect("create");
        let inode = netns::inode(&first).expect("inode").expect("a namespace");
        let id = netns::id(&first).expect("id").expect("a namespace");
        assert_eq!(id.inode, inode);
        assert!(netns::open_as(&first, Some(id)).is_ok());
        let reused = NetnsId {
            cookie: id.cookie + 1,
            ..id
        };
        let error = netns::open_as(&first, Some(reused)).expect_err("another namespace");
        assert!(matches!(error, Error::Replaced { .. }), "{error}");
        let rebooted = NetnsId {
            boot: id.boot + 1,
            ..id
        };
        assert!(netns::open_as(&first, Some(rebooted)).is_err());
        let unknown = NetnsId {
            cookie: 0,
            boot: 0,
            ..id
        };
        assert!(netns::open_as(&first, Some(unknown)).is_ok());
    });
}

#[test]
fn interrupted_namespace_creation_is_completed() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("half");
        let path = scratch.0.join("netns/a");
        std::fs::create_dir_all(scratch.0.join("netns")).expect("directory");
        std::fs::write(&path, "").expect("file");
        netns::create(&path, false).expect("create");
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
        expect_event(&mut watch, "route", |event| {
            *event == Event::PrefixRouteChanged
        })
        .await;
        ip("route add default via 192.0.2.2");
        expect_event(&mut watch, "default route", |event| {
            *event == Event::RouteChanged
        })
        .await;
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

/// Consecutive changes of routes to prefixes are one event.
#[test]
fn class5_foreign_routes_cause_no_route_event() {
    in_fresh_namespaces(|| async {
        ip("link add eth0 type veth peer name outside");
        for device in ["eth0", "outside"] {
            ip(&format!("link set {device} up"));
        }
        ip("addr add 192.0.2.1/24 dev eth0");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut watch = Watch::open().expect("watch");
        let mut batch = String::new();
        for number in 0..2_000 {
            let (high, low) = (number / 250, number % 250);
            batch.push_str(&format!("route add 10.{high}.{low}.0/24 via 192.0.2.2\n"));
            batch.push_str(&format!("route del 10.{high}.{low}.0/24\n"));
        }
        batch.push_str("route add default via 192.0.2.2\n");
        run_batch(&batch);
        let mut events = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), watch.next()).await {
            events.push(event.expect("event"));
        }
        let count = |wanted: Event| events.iter().filter(|event| **event == wanted).count();
        assert_eq!(count(Event::RouteChanged), 1, "{events:?}");
        assert!(count(Event::PrefixRouteChanged) >= 1, "{events:?}");
        assert_eq!(count(Event::Lost), 0, "{events:?}");
        assert!(events.len() < 400, "{}", events.len());
    });
}

/// The cost of finding the default routes: only their messages are parsed.
#[test]
fn class5_default_routes_are_found_among_many_routes() {
    in_fresh_namespaces(|| async {
        ip("link add eth0 type veth peer name outside");
        for device in ["eth0", "outside"] {
            ip(&format!("link set {device} up"));
        }
        ip("addr add 192.0.2.1/24 dev eth0");
        ip("addr add 2001:db8:2::1/64 dev eth0 nodad");
        let mut batch = String::new();
        for number in 0..5_000 {
            let (high, low) = (number / 250, number % 250);
            batch.push_str(&format!("route add 10.{high}.{low}.0/24 via 192.0.2.2\n"));
        }
        batch.push_str("route add default via 192.0.2.2 metric 7\n");
        batch.push_str("route add default via 192.0.2.3 table 100\n");
        batch.push_str("route add default via 2001:db8:2::2\n");
        run_batch(&batch);
        let kernel = Kernel::open().expect("netlink");
        let before = parsed();
        let found = kernel.default_routes().await.expect("routes");
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(parsed() - before, 3);
        let prefixes = kernel.prefixes().await.expect("routes");
        assert_eq!(prefixes.connected.len(), 2, "{:?}", prefixes.connected);
        assert_eq!(prefixes.routed.len(), 5_000);
    });
}

/// Number of parsed routes. Each test is a process of its own.
fn parsed() -> u32 {
    route_dump::PARSED.load(std::sync::atomic::Ordering::Relaxed)
}

/// Runs lines of `ip -batch` in the namespace of the calling thread.
fn run_batch(lines: &str) {
    let path = std::env::temp_dir().join(format!("netpath-batch-{}", std::process::id()));
    std::fs::write(&path, lines).expect("batch");
    ip(&format!("-batch {}", path.display()));
    std::fs::remove_file(path).expect("batch");
}
