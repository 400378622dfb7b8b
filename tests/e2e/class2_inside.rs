//! The inside of a sandbox belongs to the workload: what it has changed survives every command and every repair.

use std::path::Path;

use netpath_tests::{
    Netns, eventually,
    fixture::{Fixture, GATEWAY_A, GATEWAY_B, OUTSIDE},
};

/// Links, addresses, routes of every table, rules and sysctls of a namespace.
fn state(netns: &Netns) -> String {
    let mut text = String::new();
    for command in [
        "ip -o link show",
        "ip -o addr show",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule show",
        "ip -6 rule show",
    ] {
        text.push_str(&netns.exec(command));
    }
    let devices = netns.enter(|| std::fs::read_dir("/proc/sys/net/ipv6/conf").expect("sysctls"));
    let mut devices: Vec<_> = devices.flatten().map(|entry| entry.path()).collect();
    devices.sort();
    for directory in devices {
        for key in ["disable_ipv6", "accept_ra", "forwarding", "accept_dad"] {
            let path = directory.join(key);
            let value = netns.enter(|| std::fs::read_to_string(&path).expect("sysctl"));
            text.push_str(&format!("{} {value}", path.display()));
        }
    }
    text
}

/// Fails with the lines that differ.
#[track_caller]
fn assert_same(before: &str, now: &str, what: &str) {
    let lines = |text: &str, other: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !other.contains(line));
        lines.map(str::to_owned).collect()
    };
    let (removed, added) = (lines(before, now), lines(now, before));
    assert!(
        before == now,
        "after {what}: removed {removed:#?}, added {added:#?}"
    );
}

/// Waits for the end of duplicate address detection.
fn wait_for_addresses(netns: &Netns) {
    eventually("addresses are assigned", 10, || {
        !netns.exec("ip -6 addr show").contains("tentative")
    });
}

/// A device that represents a tunnel: one end of a veth pair.
fn add_tunnel(netns: &Netns) {
    for command in [
        "ip link add tun0 type veth peer name tun1",
        "ip link set tun1 up",
        "ip link set tun0 up",
        "ip addr add 10.8.0.2/24 dev tun0",
        "ip addr add fd00:8::2/64 dev tun0 nodad",
    ] {
        netns.exec(command);
    }
    wait_for_addresses(netns);
}

/// Runs every command and event that observes or repairs the sandbox `web`; each must leave its inside unchanged.
#[track_caller]
fn assert_kept(fixture: &mut Fixture, commands: &[&str]) {
    let netns = fixture.inspect("web").netns;
    for command in commands {
        netns.exec(command);
    }
    wait_for_addresses(&netns);
    let before = state(&netns);
    let check = |what: &str| assert_same(&before, &state(&netns), &format!("{what}, {commands:?}"));
    fixture.cli_ok("port publish web 8080:80");
    check("port publish");
    fixture.cli_ok("port unpublish web 8080:80");
    check("port unpublish");
    fixture.cli_ok("network connect network_b web");
    // The second link itself is new.
    fixture.cli_ok("network disconnect network_b web");
    check("network connect and disconnect");
    fixture.daemon.restart();
    check("restart");
    fixture.daemon.kill9();
    fixture.daemon.restart();
    check("kill and restart");
    let veth = fixture.inspect("web").host_interface;
    fixture
        .host()
        .exec(&format!("ip link set {veth} nomaster mtu 1400"));
    fixture.wait_for("the host interface is repaired", || {
        let shown = fixture.host().exec(&format!("ip link show {veth}"));
        shown.contains("master npb-") && shown.contains("mtu 1500")
    });
    check("repair of the host interface");
}

fn fixture() -> Fixture {
    let fixture = Fixture::with_fast_reconcile();
    fixture.two_networks();
    fixture.sandbox("web", "network_a", &[]);
    add_tunnel(&fixture.inspect("web").netns);
    fixture
}

#[test]
fn class2_default_route_over_a_tunnel_is_kept() {
    let mut fixture = fixture();
    assert_kept(
        &mut fixture,
        &[
            "ip route replace default dev tun0",
            "ip -6 route del default",
            "ip -6 route add default dev tun0 metric 10",
        ],
    );
    assert_kept(
        &mut fixture,
        &[
            "ip route del default",
            "ip route add default dev tun0 metric 50",
            "ip -6 route replace default dev tun0 metric 2000",
        ],
    );
}

#[test]
fn class2_split_routes_and_policy_rules_are_kept() {
    let mut fixture = fixture();
    assert_kept(
        &mut fixture,
        &[
            "ip route add 0.0.0.0/1 dev tun0",
            "ip route add 128.0.0.0/1 dev tun0",
            "ip -6 route add ::/1 dev tun0",
            "ip -6 route add 8000::/1 dev tun0",
            "ip route add default dev tun0 table 51820",
            "ip -6 route add default dev tun0 table 51820",
            "ip rule add not fwmark 51820 table 51820",
            "ip -6 rule add not fwmark 51820 table 51820",
        ],
    );
}

#[test]
fn class2_removed_default_route_is_not_restored() {
    let mut fixture = fixture();
    assert_kept(
        &mut fixture,
        &["ip route del default", "ip -6 route del default"],
    );
    assert_kept(
        &mut fixture,
        &[
            "ip route add blackhole default",
            "ip -6 route add unreachable default",
        ],
    );
}

#[test]
fn class2_extra_addresses_mtu_and_disabled_ipv6_are_kept() {
    let mut fixture = fixture();
    assert_kept(
        &mut fixture,
        &[
            "ip addr add 10.88.0.77/24 dev eth0",
            "ip addr add 192.168.77.1/24 dev eth0",
            "ip addr add fd00:77::1/64 dev eth0 nodad",
            "ip link set eth0 mtu 1280",
        ],
    );
    assert_kept(
        &mut fixture,
        &["sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1"],
    );
    assert_kept(
        &mut fixture,
        &["sysctl -q -w net.ipv6.conf.all.disable_ipv6=1"],
    );
}

#[test]
fn class2_link_that_is_down_renamed_or_in_a_bridge_is_kept() {
    let mut fixture = fixture();
    let address = fixture.inspect("web").v4;
    let move_address = format!("ip addr add {address}/24 dev br0");
    assert_kept(
        &mut fixture,
        &[
            "ip link add br0 type bridge",
            "ip link set br0 up",
            "ip link set eth0 master br0",
            "ip addr flush dev eth0 scope global",
            &move_address,
        ],
    );
    let netns = fixture.inspect("web").netns;
    netns.exec("ip link set eth0 down");
    // The kernel reports the lost carrier up to a second later.
    fixture.wait_for("the bridge has no carrier", || {
        netns.exec("ip link show br0").contains("state DOWN")
    });
    assert_kept(&mut fixture, &[]);
    assert_kept(&mut fixture, &["ip link set eth0 name lan0"]);
}

/// The link is created again, with its address. The default route is added unless the workload has another one.
#[test]
fn class2_recreated_link_does_not_replace_a_default_route() {
    let fixture = fixture();
    let web = fixture.inspect("web");
    for command in [
        "ip route replace default dev tun0",
        "ip -6 route add ::/1 dev tun0",
    ] {
        web.netns.exec(command);
    }
    fixture
        .host()
        .exec(&format!("ip link delete {}", web.host_interface));
    fixture.wait_for("the link is configured", || {
        let shown = web.netns.exec("ip addr show");
        shown.contains(&web.v4) && shown.contains(&web.v6)
    });
    fixture.wait_for("the IPv6 default route is added", || {
        let shown = web.netns.exec("ip -6 route show default");
        shown.contains(&format!("via {} dev eth0", GATEWAY_A.1))
    });
    let shown = web.netns.exec("ip route show default");
    assert_eq!(shown.trim(), "default dev tun0 scope link");
    let shown = web.netns.exec("ip -6 route show ::/1");
    assert!(shown.contains("dev tun0"), "{shown}");
}

#[test]
fn class2_missing_address_is_restored_with_its_default_route() {
    let mut fixture = fixture();
    let web = fixture.inspect("web");
    let before = web.netns.exec("ip route show") + &web.netns.exec("ip -6 route show default");
    web.netns.exec("ip addr flush dev eth0 scope global");
    fixture.daemon.restart();
    let after = web.netns.exec("ip route show") + &web.netns.exec("ip -6 route show default");
    assert_eq!(after, before);
}

/// A default route moves to another network only if it is netpath's own.
#[test]
fn class2_default_route_moves_only_if_it_is_netpaths() {
    let fixture = Fixture::with_fast_reconcile();
    fixture.two_networks();
    let routes = |netns: &Netns| {
        netns.exec("ip route show default") + &netns.exec("ip -6 route show default")
    };
    for (name, command, kept) in [
        ("plain", "true", false),
        ("tunnel", "ip route replace default dev tun0", true),
        ("removed", "ip route del default", true),
    ] {
        let sandbox = fixture.sandbox(name, "network_a", &[]);
        add_tunnel(&sandbox.netns);
        fixture.cli_ok(&format!("network connect network_b {name}"));
        let first = routes(&sandbox.netns);
        assert!(
            first.contains(GATEWAY_A.0) && !first.contains(GATEWAY_B.0),
            "{first}"
        );
        sandbox.netns.exec(command);
        let v4 = sandbox.netns.exec("ip route show default");
        fixture.cli_ok(&format!("network disconnect network_a {name}"));
        let now = sandbox.netns.exec("ip route show default");
        if kept {
            assert_eq!(now, v4, "{name}");
        } else {
            assert!(
                now.contains(&format!("via {} dev eth1", GATEWAY_B.0)),
                "{now}"
            );
        }
        let now = sandbox.netns.exec("ip -6 route show default");
        assert!(
            now.contains(&format!("via {} dev eth1", GATEWAY_B.1)),
            "{now}"
        );
        // Connecting the first network again takes nothing over.
        let before = routes(&sandbox.netns);
        fixture.cli_ok(&format!("network connect network_a {name}"));
        assert_eq!(routes(&sandbox.netns), before, "{name}");
    }
}

/// An adopted namespace keeps everything; removal restores the earlier state.
#[test]
fn class2_adopted_namespace_is_as_before_after_removal() {
    let fixture = Fixture::with_fast_reconcile();
    fixture.two_networks();
    for (label, commands, takes_default) in [
        ("bare", &["ip link set lo down"][..], true),
        (
            "routed",
            &[
                "ip link add up0 type veth peer name up1",
                "ip link set up0 up",
                "ip link set up1 up",
                "ip addr add 192.168.7.2/24 dev up0",
                "ip addr add fd00:7::2/64 dev up0 nodad",
                "ip route add default via 192.168.7.1",
                "ip -6 route add default via fd00:7::1",
                "ip route add 172.16.0.0/12 via 192.168.7.9",
                "ip rule add from 192.168.7.2 table 77",
            ][..],
            false,
        ),
        (
            "hardened",
            &["sysctl -q -w net.ipv6.conf.all.disable_ipv6=1"][..],
            true,
        ),
    ] {
        let netns = Netns::new(label);
        for command in commands {
            netns.exec(command);
        }
        wait_for_addresses(&netns);
        let before = state(&netns);
        let routes = netns.exec("ip route show table all");
        let path = netns.path().display().to_string();
        fixture.cli_ok(&format!(
            "sandbox create {label} --network network_a --netns {path}"
        ));
        let default = netns.exec("ip route show default") + &netns.exec("ip -6 route show default");
        assert_eq!(
            default.contains(GATEWAY_A.0),
            takes_default,
            "{label}: {default}"
        );
        assert_eq!(
            default.contains(GATEWAY_A.1),
            takes_default,
            "{label}: {default}"
        );
        for route in routes.lines() {
            assert!(
                netns.exec("ip route show table all").contains(route),
                "{label}: {route}"
            );
        }
        fixture.cli_ok(&format!("network connect network_b {label}"));
        fixture.cli_ok(&format!("network disconnect network_a {label}"));
        let default = netns.exec("ip route show default");
        assert_eq!(
            default.contains(GATEWAY_B.0),
            takes_default,
            "{label}: {default}"
        );
        fixture.cli_ok(&format!("sandbox rm {label}"));
        assert_same(&before, &state(&netns), label);
        assert!(Path::new(&path).exists());
    }
}

/// The endpoint works next to the routes of the workload.
#[test]
fn class2_sandbox_with_a_tunnel_reaches_its_network() {
    let fixture = fixture();
    let web = fixture.inspect("web");
    web.netns.exec("ip route replace default dev tun0");
    fixture.sandbox("client", "network_a", &[]);
    fixture.serve_echo("web");
    let mut client = fixture
        .connect_from_sandbox("client", &format!("{}:80", web.v4))
        .expect("connection");
    client.exchange_line();
    let outside = web.netns.exec(&format!("ip route get {}", OUTSIDE.0));
    assert!(outside.contains("dev tun0"), "{outside}");
}
