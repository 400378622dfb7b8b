//! Veth pairs and container links.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use netpath_common::addr::MacAddr;

use super::{super::*, Scratch, in_fresh_namespaces, ip};
use crate::plan::{Bridge, Inside, UsedRoute, Veth};

const BRIDGE: &str = "npb-0000000001";
const NAME: &str = "npv-0000000001";

pub(super) async fn node_with_bridge() -> Kernel {
    let kernel = Kernel::open().expect("netlink");
    let bridge = Bridge {
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1400,
        addresses: ["172.30.0.1/16", "fd00:30::1/64"]
            .map(|net| net.parse().expect("prefix"))
            .into(),
    };
    kernel.set_bridge(BRIDGE, &bridge).await.expect("bridge");
    kernel
}

pub(super) fn veth(netns: PathBuf, number: u16) -> Veth {
    let [high, low] = number.to_be_bytes();
    Veth {
        bridge: BRIDGE.to_owned(),
        mtu: 1400,
        netns,
        namespace: None,
        rate: None,
        inside: Inside {
            name: "eth0".to_owned(),
            mac: MacAddr([2, 0, 0, 1, high, low]),
            addresses: [
                format!("172.30.{}.{low}/16", high + 1),
                format!("fd00:30::1:{number:x}/64"),
            ]
            .map(|net| net.parse().expect("prefix"))
            .into(),
            gateways: ["172.30.0.1", "fd00:30::1"]
                .map(|ip| ip.parse().expect("address"))
                .into(),
        },
    }
}

async fn bring_up(kernel: &Kernel, name: &str, wanted: &Veth) {
    kernel.create_veth(name, wanted).await.expect("create");
    kernel
        .set_veth(name, &wanted.bridge, wanted.mtu, wanted.rate)
        .await
        .expect("host interface");
    let first = kernel.set_inside(name, wanted, true).await;
    first.expect("inside");
}

async fn inside(path: &std::path::Path, commands: &'static [&'static str]) -> String {
    let file = netns::open(path).expect("namespace");
    netns::run_in(&file, "test", move || {
        commands
            .iter()
            .map(|command| ip(command))
            .collect::<String>()
    })
    .await
    .expect("run")
}

async fn check(kernel: &Kernel, wanted: &Veth, when: &str) {
    let (index, outer) = kernel
        .observe_veth(NAME)
        .await
        .expect("observe")
        .expect(when);
    assert_eq!(
        (outer.bridge.as_deref(), outer.mtu, outer.up),
        (Some(BRIDGE), 1400, true),
        "{when}"
    );
    let found = kernel
        .observe_inside(wanted, index)
        .await
        .expect("observe")
        .expect(when);
    assert!(outer.configured && found.in_use && found.ipv6, "{when}");
    assert_eq!(found.mtu, 1400, "{when}");
    for net in &wanted.inside.addresses {
        assert!(found.addresses.contains(&net.addr()), "{when}: {net}");
    }
    assert_eq!(found.gateways, wanted.inside.gateways, "{when}");
    assert_eq!(
        (found.used_v4, found.used_v6),
        (UsedRoute::Own, UsedRoute::Own),
        "{when}"
    );
}

/// Checks that the stack of the sandbox refuses a connection, because it has no listener.
fn check_reachable(ip: &str) {
    let target = SocketAddr::new(ip.parse().expect("address"), 9);
    let error =
        TcpStream::connect_timeout(&target, Duration::from_secs(2)).expect_err("no listener");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{ip}");
}

#[test]
fn endpoint_is_created_repaired_and_removed() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("endpoint");
        let kernel = node_with_bridge().await;
        let wanted = veth(scratch.0.join("netns/a"), 2);
        netns::create(&wanted.netns, false).expect("namespace");
        kernel.create_veth(NAME, &wanted).await.expect("create");
        let link = kernel.link(NAME).await.expect("link").expect("veth");
        assert!(!link.up, "not up before it is configured");
        bring_up(&kernel, NAME, &wanted).await;
        check(&kernel, &wanted, "made").await;
        let outer = ip("-6 addr show dev npv-0000000001");
        assert!(!outer.contains("inet6"), "{outer}");
        let shown = inside(&wanted.netns, &["-6 addr show dev eth0"]).await;
        assert!(
            shown.contains("fe80") && !shown.contains("tentative"),
            "{shown}"
        );
        check_reachable("172.30.1.2");
        check_reachable("fd00:30::1:2");
        bring_up(&kernel, NAME, &wanted).await;
        check(&kernel, &wanted, "created twice").await;

        ip("link set npv-0000000001 nomaster mtu 1300 down");
        let host_end = kernel
            .set_veth(NAME, &wanted.bridge, wanted.mtu, wanted.rate)
            .await;
        host_end.expect("host interface");
        inside(&wanted.netns, &["addr flush dev eth0 scope global"]).await;
        let inside = &wanted.inside;
        let restored = kernel
            .restore_inside(NAME, &wanted, &inside.addresses, &inside.gateways)
            .await;
        restored.expect("inside");
        check(&kernel, &wanted, "restored").await;
        check_reachable("172.30.1.2");

        kernel.delete_link(NAME).await.expect("delete");
        assert_eq!(kernel.observe_veths().await.expect("observe").len(), 0);
        assert_eq!(
            kernel.observe_inside(&wanted, 99).await.expect("observe"),
            None
        );
    });
}

#[test]
fn container_link_is_configured_before_host_interface_is_up() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("order");
        let kernel = node_with_bridge().await;
        let wanted = veth(scratch.0.join("netns/a"), 2);
        netns::create(&wanted.netns, false).expect("namespace");
        kernel.create_veth(NAME, &wanted).await.expect("create");
        let first = kernel.set_inside(NAME, &wanted, true).await;
        first.expect("inside");
        kernel
            .set_veth(NAME, &wanted.bridge, wanted.mtu, wanted.rate)
            .await
            .expect("host interface");
        check(&kernel, &wanted, "in the other order").await;
        let outer = ip("-6 addr show dev npv-0000000001");
        assert!(!outer.contains("inet6"), "{outer}");
        check_reachable("172.30.1.2");
        check_reachable("fd00:30::1:2");
    });
}

#[test]
fn gateways_move_from_one_endpoint_to_another() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("gateways");
        let kernel = node_with_bridge().await;
        let first = veth(scratch.0.join("netns/a"), 2);
        netns::create(&first.netns, false).expect("namespace");
        bring_up(&kernel, NAME, &first).await;
        let mut second = veth(first.netns.clone(), 3);
        second.inside.name = "eth1".to_owned();
        let gateways = std::mem::take(&mut second.inside.gateways);
        bring_up(&kernel, "npv-0000000002", &second).await;
        check(&kernel, &first, "first").await;
        for gateway in gateways {
            let moved = kernel.move_gateway("npv-0000000002", &second, gateway);
            moved.await.expect("move");
        }
        let routes = inside(
            &first.netns,
            &["route show default", "-6 route show default"],
        )
        .await;
        assert_eq!(routes.matches("dev eth1").count(), 2, "{routes}");
        assert_eq!(routes.matches("default").count(), 2, "{routes}");
    });
}

#[test]
fn class2_default_route_of_another_program_is_kept() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("foreign");
        let kernel = node_with_bridge().await;
        for (number, v4, v6) in [
            (
                1,
                "default dev tun0 metric 50",
                "default dev tun0 metric 9000",
            ),
            (2, "blackhole default", "unreachable default metric 5"),
            (
                3,
                "default nexthop dev tun0 nexthop dev tun1",
                "default dev tun0",
            ),
        ] {
            let name = format!("npv-00000000{number:02}");
            let wanted = veth(scratch.0.join(format!("netns/{number}")), number);
            netns::create(&wanted.netns, false).expect("namespace");
            let file = netns::open(&wanted.netns).expect("namespace");
            let shown = |wanted: &Veth| {
                let file = netns::open(&wanted.netns).expect("namespace");
                async move {
                    let show = || ip("route show default") + &ip("-6 route show default");
                    netns::run_in(&file, "test", show).await.expect("run")
                }
            };
            netns::run_in(&file, "test", move || {
                ip("link add tun0 type veth peer name tun1");
                for tunnel in ["tun0", "tun1"] {
                    ip(&format!("link set {tunnel} up"));
                }
                ip(&format!("route add {v4}"));
                ip(&format!("-6 route add {v6}"));
            })
            .await
            .expect("run");
            let before = shown(&wanted).await;
            bring_up(&kernel, &name, &wanted).await;
            let gateways = wanted.inside.gateways.iter();
            for gateway in gateways {
                let moved = kernel.move_gateway(&name, &wanted, *gateway);
                moved.await.expect("move");
            }
            assert_eq!(shown(&wanted).await, before);
        }
    });
}

#[test]
fn class2_recreated_container_link_leaves_ipv6_disabled() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("ipv6");
        let kernel = node_with_bridge().await;
        let wanted = veth(scratch.0.join("netns/a"), 2);
        netns::create(&wanted.netns, false).expect("namespace");
        let disable = || sysctl::write("net/ipv6/conf/all/disable_ipv6", "1");
        let file = netns::open(&wanted.netns).expect("namespace");
        let disabled = netns::run_in(&file, "test", disable).await.expect("run");
        disabled.expect("sysctl");
        bring_up(&kernel, NAME, &wanted).await;
        check(&kernel, &wanted, "first").await;

        let disabled = netns::run_in(&file, "test", disable).await.expect("run");
        disabled.expect("sysctl");
        kernel.delete_link(NAME).await.expect("delete");
        kernel.create_veth(NAME, &wanted).await.expect("create");
        let again = kernel.set_inside(NAME, &wanted, false).await;
        again.expect("inside");
        let shown = inside(&wanted.netns, &["addr show dev eth0"]).await;
        assert!(shown.contains("172.30.1.2"), "{shown}");
        assert!(!shown.contains("inet6"), "{shown}");
    });
}

#[test]
fn misplaced_devices_have_distinct_errors() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("wrong");
        let kernel = node_with_bridge().await;
        let here = veth(scratch.0.join("netns/a"), 2);
        let there = veth(scratch.0.join("netns/b"), 2);
        let missing = kernel
            .create_veth(NAME, &here)
            .await
            .expect_err("no namespace");
        assert!(matches!(missing, Error::NotNetns { .. }), "{missing}");
        netns::create(&here.netns, false).expect("namespace");
        netns::create(&there.netns, false).expect("namespace");
        bring_up(&kernel, NAME, &here).await;

        let elsewhere = kernel
            .set_inside(NAME, &there, true)
            .await
            .expect_err("elsewhere");
        assert!(
            matches!(elsewhere, Error::PeerElsewhere { .. }),
            "{elsewhere}"
        );
        let nowhere = veth(scratch.0.clone(), 2);
        let (index, _) = kernel
            .observe_veth(NAME)
            .await
            .expect("observe")
            .expect("veth");
        assert_eq!(
            kernel.observe_inside(&there, index).await.expect("observe"),
            None
        );
        assert_eq!(
            kernel
                .observe_inside(&nowhere, index)
                .await
                .expect("observe"),
            None
        );
        let absent = kernel
            .set_veth("npv-0000000009", BRIDGE, 1400, None)
            .await
            .expect_err("absent");
        assert!(matches!(absent, Error::NoLink { .. }), "{absent}");

        bring_up(&kernel, NAME, &there).await;
        check(&kernel, &there, "moved to the other namespace").await;
        ip("link add name npv-0000000003 type bridge");
        let foreign = kernel
            .create_veth("npv-0000000003", &here)
            .await
            .expect_err("a bridge");
        assert!(matches!(foreign, Error::ForeignLink { .. }), "{foreign}");
    });
}

#[test]
fn class6_namespace_that_has_an_interface_of_the_name_is_refused() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("taken");
        let kernel = node_with_bridge().await;
        let wanted = veth(scratch.0.join("netns/a"), 2);
        netns::create(&wanted.netns, false).expect("namespace");
        let file = netns::open(&wanted.netns).expect("namespace");
        let add = || ip("link add name eth0 type veth peer name other");
        netns::run_in(&file, "test", add).await.expect("run");
        let taken = kernel.create_veth(NAME, &wanted).await;
        let taken = taken.expect_err("eth0 is taken");
        assert!(matches!(taken, Error::NameTaken { .. }), "{taken}");
    });
}
