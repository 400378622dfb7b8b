//! WireGuard, VLAN and VRF interfaces serve published ports, and sandboxes send through them.
//!
//! A test fails if the kernel does not have its type of device. `cargo xtask test` names the types that are missing and
//! skips their tests; `cargo xtask test kernels` runs all of them.

use std::{fs, path::Path};

use netpath_tests::{
    Netns, assert_no_bad_checksums,
    fixture::{Fixture, Pair, Topology, both},
    peer,
    tunnel::Tunnel,
};
use tempfile::TempDir;

use crate::class1_interfaces::{assert_leaves, assert_served, role, web};

/// Megabytes of a TCP transfer in each direction.
const SIZE: u32 = 1;

/// A host at the other end of a device, and the addresses at both ends.
struct Link<'a> {
    device: &'a str,
    host: Pair,
    peer: &'a Netns,
    peer_addresses: Pair,
}

impl<'a> Link<'a> {
    /// A link with the addresses of a [`Tunnel`].
    fn new(device: &'a str, peer: &'a Netns) -> Self {
        Self {
            device,
            host: Tunnel::HOST,
            peer,
            peer_addresses: Tunnel::PEER,
        }
    }

    /// Sets addresses and state of the device at both ends, after it was created.
    fn bring_up(&self, host: &Netns) {
        for (netns, (v4, v6)) in [(host, self.host), (self.peer, self.peer_addresses)] {
            let device = self.device;
            netns.exec(&format!("ip addr add {v4}/24 dev {device}"));
            netns.exec(&format!("ip addr add {v6}/64 dev {device} nodad"));
            netns.exec(&format!("ip link set {device} up"));
        }
    }

    /// A published port and a client in a sandbox work through the device, also after a restart of the daemon.
    #[track_caller]
    fn assert_works(&self, fixture: &mut Fixture, prepare: impl FnOnce(&Fixture)) {
        let (device, host, peer) = (self.device, both(self.host), both(self.peer_addresses));
        fixture.wait_for("the interface serves", || role(fixture, device) == "uplink");
        let (web, _server) = web(fixture);
        prepare(fixture);
        fixture.cli_ok("port publish web 8081:81");
        let _inside = peer::serve_blobs(&web.netns, 81);
        let _outside = peer::serve_blobs(self.peer, 7001);
        let _other = peer::serve(self.peer, "peer", &["7000"]);
        for restarted in [false, true] {
            if restarted {
                fixture.daemon.restart();
            }
            assert_served(self.peer, host, peer);
            assert_leaves(&web, peer, host);
        }
        for (address, outside) in host.into_iter().zip(peer) {
            peer::exchange(self.peer, address, 8081, SIZE);
            peer::exchange(&web.netns, outside, 7001, SIZE);
        }
        peer::assert_pings(&web.netns, peer, true);
        fixture.assert_clean(&[&web]);
        assert_no_bad_checksums(self.peer);
    }
}

#[test]
fn vlan_works_in_both_directions() {
    let mut fixture = Fixture::with_config("reconcile_s = 600\n");
    let (host, outside) = (fixture.host().clone(), fixture.outside().clone());
    for netns in [&host, &outside] {
        netns.exec("ip link add link eth0 name eth0.10 type vlan id 10");
    }
    let link = Link::new("eth0.10", &outside);
    link.bring_up(&host);
    link.assert_works(&mut fixture, |_| {});
}

/// Creates a WireGuard device; returns its public key.
fn wireguard(netns: &Netns, directory: &Path) -> String {
    let key = netns.exec("wg genkey");
    let file = directory.join("key");
    fs::write(&file, key).expect("key");
    netns.exec("ip link add wg0 type wireguard");
    let file = file.display();
    netns.exec(&format!("wg set wg0 listen-port 51820 private-key {file}"));
    netns.exec("wg show wg0 public-key").trim().to_owned()
}

/// A node with a WireGuard device whose packets take the link of `eth0`, over IPv4 or IPv6.
#[track_caller]
fn assert_wireguard_works(endpoints: [&str; 2]) {
    let directory = TempDir::with_prefix("npt-wireguard-").expect("directory");
    let mut fixture = Fixture::with_config("reconcile_s = 600\n");
    let (host, outside) = (fixture.host().clone(), fixture.outside().clone());
    let ends = [&host, &outside];
    let keys = ends.map(|netns| wireguard(netns, directory.path()));
    for (this, that) in [(0, 1), (1, 0)] {
        let (key, endpoint) = (&keys[that], endpoints[that]);
        ends[this].exec(&format!(
            "wg set wg0 peer {key} allowed-ips 0.0.0.0/0,::/0 endpoint {endpoint}:51820"
        ));
    }
    let link = Link::new("wg0", &outside);
    link.bring_up(&host);
    link.assert_works(&mut fixture, |_| {});
}

#[test]
fn wireguard_over_ipv4_works_in_both_directions() {
    assert_wireguard_works(["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn wireguard_over_ipv6_works_in_both_directions() {
    assert_wireguard_works(["[2001:db8:2::1]", "[2001:db8:2::2]"]);
}

/// A node whose second interface is in a VRF. `prepare` makes its addresses reachable from the sandboxes.
#[track_caller]
fn assert_vrf_works(prepare: impl FnOnce(&Fixture)) {
    let topology = Topology::builder().second_uplink().build();
    let second = topology.second.clone().expect("second");
    topology.host.exec("ip link add blue type vrf table 100");
    topology.host.exec("ip link set blue up");
    topology.host.exec("ip link set eth1 master blue");
    let link = Link {
        device: "eth1",
        host: ("198.51.100.1", "2001:db8:51::1"),
        peer: &second,
        peer_addresses: ("198.51.100.2", "2001:db8:51::2"),
    };
    // A change of the master removes IPv6 addresses.
    topology.host.exec("ip addr flush dev eth1 scope global");
    for address in ["198.51.100.1/24", "2001:db8:51::1/64"] {
        topology
            .host
            .exec(&format!("ip addr add {address} dev eth1"));
    }
    let mut fixture = Fixture::start(topology, &[], "reconcile_s = 600\n");
    link.assert_works(&mut fixture, prepare);
}

#[test]
fn vrf_works_in_both_directions_with_routes_in_the_main_table() {
    assert_vrf_works(|fixture| {
        for prefix in ["198.51.100.0/24", "2001:db8:51::/64"] {
            fixture
                .host()
                .exec(&format!("ip route add {prefix} dev eth1"));
        }
    });
}

#[test]
fn vrf_works_in_both_directions_with_rules_for_sandboxes_and_replies() {
    assert_vrf_works(|fixture| {
        // New flows are routed by the address of the sandbox, replies by the address that the client used.
        for (family, source) in [
            ("-4", "10.88.0.0/24"),
            ("-6", "fd00:88::/64"),
            ("-4", "198.51.100.1"),
            ("-6", "2001:db8:51::1"),
        ] {
            fixture
                .host()
                .exec(&format!("ip {family} rule add from {source} table 100"));
        }
    });
}
