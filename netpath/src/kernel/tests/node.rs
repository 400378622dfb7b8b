//! Facts of a node, and bridges.

use std::collections::BTreeSet;

use netpath_common::addr::MacAddr;

use super::{super::*, in_fresh_namespaces, ip};
use crate::plan::Bridge;

fn bridge() -> Bridge {
    Bridge {
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1400,
        addresses: ["172.30.0.1/24", "fd00:30::1/64"]
            .map(|net| net.parse().expect("prefix"))
            .into(),
    }
}

#[test]
fn facts_describe_the_interfaces() {
    in_fresh_namespaces(|| async {
        for command in [
            "link set lo up",
            "link add name eth0 type veth peer name outside",
            "link set eth0 mtu 1450 up",
            "link set outside up",
            "addr add 192.0.2.1/24 dev eth0",
            "addr add 2001:db8:2::1/64 dev eth0 nodad",
            "route add default via 192.0.2.2",
            "route add default via 2001:db8:2::2",
            "route add 198.51.100.0/24 via 192.0.2.2 table 100",
        ] {
            ip(command);
        }
        let kernel = Kernel::open().expect("netlink");
        kernel
            .set_bridge("npb-0123456789", &bridge())
            .await
            .expect("bridge");
        let found = kernel.facts(&[], &BTreeSet::new()).await.expect("facts");
        assert_eq!(found.degraded, [""; 0]);
        let names: Vec<_> = found.facts.interfaces.keys().collect();
        assert_eq!(names, ["eth0", "outside"]);
        assert_eq!(found.facts.mtu, Some(1450));
        let uplink = &found.facts.interfaces["eth0"];
        assert_eq!(uplink.mtu, 1450);
        assert_eq!(uplink.v4, Some("192.0.2.1".parse().expect("ip")));
        assert_eq!(uplink.v6, Some("2001:db8:2::1".parse().expect("ip")));
        for address in ["192.0.2.1", "2001:db8:2::1", "172.30.0.1", "fd00:30::1"] {
            assert!(
                found
                    .facts
                    .host_addresses
                    .contains(&address.parse().expect("ip"))
            );
        }
        assert!(
            !found
                .facts
                .host_addresses
                .contains(&"127.0.0.1".parse().expect("ip"))
        );

        let prefixes = kernel.prefixes().await.expect("routes");
        let texts = |list: &[ipnet::IpNet]| -> BTreeSet<String> {
            list.iter().map(ToString::to_string).collect()
        };
        let connected = [
            "172.30.0.0/24",
            "192.0.2.0/24",
            "2001:db8:2::/64",
            "fd00:30::/64",
        ];
        assert_eq!(
            texts(&prefixes.connected),
            connected.map(str::to_owned).into()
        );
        let routed = ["198.51.100.0/24"];
        assert_eq!(texts(&prefixes.routed), routed.map(str::to_owned).into());

        let named = kernel
            .facts(
                &["outside".to_owned(), "gone0".to_owned()],
                &BTreeSet::new(),
            )
            .await
            .expect("facts");
        let uplinks: Vec<_> = named.facts.interfaces.iter().collect();
        let uplinks = uplinks
            .iter()
            .map(|(name, found)| (name.as_str(), found.is_uplink));
        let wanted = [("eth0", false), ("outside", true)];
        assert_eq!(uplinks.collect::<Vec<_>>(), wanted);
        assert_eq!(named.degraded, ["uplink gone0 does not exist"]);
    });
}

#[test]
fn multipath_default_route_has_the_smallest_mtu() {
    in_fresh_namespaces(|| async {
        for command in [
            "link add name eth0 type veth peer name out0",
            "link add name eth1 type veth peer name out1",
            "link set eth0 up",
            "link set eth1 up",
            "link set out0 up",
            "link set out1 up",
            "addr add 192.0.2.1/24 dev eth0",
            "link set eth1 mtu 1400",
            "addr add 198.51.100.1/24 dev eth1",
            "route add default nexthop via 192.0.2.2 nexthop via 198.51.100.2",
        ] {
            ip(command);
        }
        let kernel = Kernel::open().expect("netlink");
        let facts = kernel
            .facts(&[], &BTreeSet::new())
            .await
            .expect("facts")
            .facts;
        assert_eq!(facts.mtu, Some(1400));
    });
}

#[test]
fn bridge_is_created_repaired_and_removed() {
    in_fresh_namespaces(|| async {
        let kernel = Kernel::open().expect("netlink");
        let (name, wanted) = ("npb-0123456789", bridge());
        kernel.set_bridge(name, &wanted).await.expect("create");
        let check = async |when: &str| {
            let found = kernel
                .observe_bridge(name)
                .await
                .expect("observe")
                .expect(when);
            assert!(found.up, "{when}");
            assert_eq!((found.mac, found.mtu), (wanted.mac, wanted.mtu), "{when}");
            assert_eq!(found.addresses, wanted.addresses, "{when}");
        };
        check("made").await;
        for key in [
            "ipv4/conf/npb-0123456789/forwarding",
            "ipv6/conf/npb-0123456789/forwarding",
        ] {
            assert_eq!(sysctl::read(&format!("net/{key}")).expect("sysctl"), "1");
        }
        let shown = ip("-6 addr show dev npb-0123456789 scope global");
        assert!(!shown.contains("tentative"), "{shown}");

        kernel.set_bridge(name, &wanted).await.expect("again");
        for command in [
            "link set npb-0123456789 mtu 1300 address 02:00:00:00:00:99 down",
            "addr flush dev npb-0123456789",
            "addr add 172.30.0.9/24 dev npb-0123456789",
            "addr add 172.30.0.1/24 dev npb-0123456789",
            "addr add fd00:31::1/64 dev npb-0123456789",
        ] {
            ip(command);
        }
        kernel.set_bridge(name, &wanted).await.expect("repair");
        check("repaired").await;
        assert_eq!(kernel.observe_bridges().await.expect("observe").len(), 1);

        kernel.delete_link(name).await.expect("delete");
        kernel.delete_link(name).await.expect("delete again");
        assert_eq!(kernel.observe_bridge(name).await.expect("observe"), None);
    });
}

#[test]
fn foreign_device_is_refused_and_unchanged() {
    in_fresh_namespaces(|| async {
        ip("link add name npb-0123456789 type veth peer name other");
        let kernel = Kernel::open().expect("netlink");
        let error = kernel
            .set_bridge("npb-0123456789", &bridge())
            .await
            .expect_err("not a bridge");
        assert!(matches!(error, Error::ForeignLink { .. }), "{error}");
        assert!(!error.can_retry());
        let link = kernel.link("other").await.expect("link").expect("device");
        assert_eq!(link.kind.as_deref(), Some("veth"));
        assert!(
            link.layer == LinkLayer::Ethernet
                && !link.up
                && link.peer.is_some()
                && link.peer_netnsid.is_none()
        );
        assert_eq!(
            kernel.link("a-name-that-is-too-long").await.expect("link"),
            None
        );
    });
}
