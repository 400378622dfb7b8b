//! Traffic between the sandboxes of two nodes, or of a node and a VXLAN device of the kernel, without a daemon.
//!
//! ```text
//!  sandbox 10.9.1.2 ── ve1 ── node 1 ── eth0 192.0.2.1 ───── eth0 192.0.2.2 ── node 2 ── ve1 ── sandbox 10.9.2.2
//!          fd00:9::1:2              2001:db8:2::1            2001:db8:2::2                      fd00:9::2:2
//! ```

use std::net::IpAddr;

use netpath::{
    datapath::{Datapath, Limits, NodeSettings},
    plan::{
        Attachment, Hook, Interface, LinkHeader,
        overlay::{PeerEntry, RemoteEntry, RemoteKey, TunnelEntry, VniEntry},
        tables::{AddressEntry, EndpointEntry, NetworkEntry, SubnetEntry},
    },
};
use netpath_common::{
    addr::{Addr, MacAddr},
    flow::Timers,
    maps::{MASQUERADE, OVERLAY},
};
use netpath_tests::{
    Capture, Netns, assert_no_bad_checksums, assert_no_netfilter, peer,
    prog::{Bpffs, Family},
};

/// VNI of the network, and its index.
const VNI: u32 = 0xff_fffe;
const NETWORK: u32 = 1;
/// Slot of the sandbox.
const SLOT: u32 = 1;
const PORT: u16 = 4789;
/// Options of the kernel's devices without offloads of tunnels.
const NO_TUNNEL_OFFLOAD: &str = "tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off";

/// The address of a node.
fn underlay(family: Family, node: u8) -> IpAddr {
    family.pick([192, 0, 2, node], &format!("2001:db8:2::{node}"))
}

/// The address of a node's sandbox.
fn inside(family: Family, node: u8) -> IpAddr {
    family.pick([10, 9, node, 2], &format!("fd00:9::{node}:2"))
}

/// The MAC address of a node's sandbox.
fn mac(node: u8) -> MacAddr {
    MacAddr::of_address(Addr::from(inside(Family::V4, node)))
}

/// MTU of sandboxes.
const fn mtu(underlay: Family) -> u32 {
    match underlay {
        Family::V4 => 1450,
        Family::V6 => 1430,
    }
}

/// Two hosts with a cable between them.
struct Hosts {
    nodes: [Netns; 2],
    sandboxes: [Netns; 2],
}

impl Hosts {
    /// The hosts and their sandboxes; the first has a veth pair to its sandbox.
    fn new(family: Family) -> Self {
        let hosts = Self {
            nodes: [Netns::new("node1"), Netns::new("node2")],
            sandboxes: [Netns::new("sandbox1"), Netns::new("sandbox2")],
        };
        let [first, second] = &hosts.nodes;
        first.exec(&format!(
            "ip link add name eth0 type veth peer name eth0 netns {}",
            second.path().display()
        ));
        for (number, (node, sandbox)) in (1..).zip(hosts.nodes.iter().zip(&hosts.sandboxes)) {
            make_host(node, number);
            make_sandbox(node, sandbox, number, mtu(family));
        }
        hosts
    }
}

fn make_host(node: &Netns, number: u8) {
    node.sysctl("net/ipv4/ip_forward", "1");
    node.sysctl("net/ipv6/conf/all/forwarding", "1");
    node.exec("ip link set eth0 up");
    for (family, length) in [(Family::V4, "24"), (Family::V6, "64 nodad")] {
        let ip = underlay(family, number);
        let (length, flag) = length.split_once(' ').unwrap_or((length, ""));
        node.exec(&format!("ip addr add {ip}/{length} dev eth0 {flag}"));
    }
    node.exec("ip link add name br0 address 02:00:00:00:01:01 type bridge");
    node.exec("ip link set br0 up");
    node.exec("ip addr add 10.9.0.1/16 dev br0");
    node.exec("ip addr add fd00:9::1/64 dev br0 nodad");
}

fn make_sandbox(node: &Netns, sandbox: &Netns, number: u8, mtu: u32) {
    node.exec(&format!(
        "ip link add name ve1 mtu {mtu} type veth peer name eth0 address {} mtu {mtu} netns {}",
        mac(number),
        sandbox.path().display()
    ));
    node.exec("ip link set ve1 master br0 up");
    sandbox.exec("ip link set eth0 up");
    let (v4, v6) = (inside(Family::V4, number), inside(Family::V6, number));
    sandbox.exec(&format!("ip addr add {v4}/16 dev eth0"));
    sandbox.exec(&format!("ip addr add {v6}/64 dev eth0 nodad"));
}

/// A node with netpath's programs.
struct Node {
    datapath: Datapath,
    bpffs: Bpffs,
}

impl Node {
    /// Loads the programs on a host, writes the maps and attaches the programs. Its peer is the other host.
    fn start(hosts: &Hosts, index: usize, family: Family) -> Self {
        hosts.nodes[index].enter(|| {
            let bpffs = Bpffs::mount();
            let settings = NodeSettings {
                netns_cookie: 1,
                secret: 0x0123_4567_89ab_cdef,
                fragment_key: 2,
                timers: Timers::DEFAULT,
            };
            let limits = Limits {
                flows: 1024,
                half_open: Some(256),
                flows_per_sandbox: None,
            };
            let directory = bpffs.path().join("netpath");
            let mut datapath =
                Datapath::load(&directory, limits, settings, None).expect("programs");
            let number = u8::try_from(index + 1).expect("small");
            write(&mut datapath, number, 3 - number, family);
            for (device, hook) in [
                ("eth0", Hook::UplinkEgress),
                ("eth0", Hook::UplinkIngress),
                ("ve1", Hook::EndpointIngress),
                ("ve1", Hook::EndpointEgress),
            ] {
                let attachment = Attachment::new(device, hook);
                datapath.attach(&attachment).expect("attached");
            }
            Self { datapath, bpffs }
        })
    }

    /// Adds an entry for the IPv6 address of the other host's sandbox, whose MAC address follows from its IPv4 address. A VXLAN device
    /// delivers by MAC addresses.
    fn set_mac_of_peer(&mut self, family: Family) {
        let key = RemoteKey {
            network: NETWORK,
            prefix: inside(Family::V6, 2).into(),
        };
        let entry = RemoteEntry {
            peer: underlay(family, 2),
            vni: VNI,
            mac: Some(mac(2)),
        };
        self.datapath.tables.put(&[(key, entry)]).expect("remotes");
    }

    /// The number of packets of a reason.
    fn count(&self, name: &str) -> u64 {
        let counters = netpath::datapath::read::counters(&self.bpffs.path().join("netpath"));
        let counters = counters.expect("counters");
        let found = counters
            .iter()
            .find(|counter| counter.reason.name() == name);
        found.map_or(0, |counter| counter.packets)
    }
}

fn write(datapath: &mut Datapath, own: u8, other: u8, family: Family) {
    let tables = &mut datapath.tables;
    let flags = OVERLAY | MASQUERADE;
    let name = |text: &str| text.parse().expect("name");
    let v4 = |ip: IpAddr| {
        if let IpAddr::V4(ip) = ip {
            Some(ip)
        } else {
            None
        }
    };
    let v6 = |ip: IpAddr| {
        if let IpAddr::V6(ip) = ip {
            Some(ip)
        } else {
            None
        }
    };
    let interface = Interface {
        mtu: 1500,
        header: LinkHeader::Ethernet,
        is_uplink: true,
        v4: Some(underlay(Family::V4, own)),
        v6: Some(underlay(Family::V6, own)),
    };
    tables
        .put(&[("eth0".to_owned(), interface)])
        .expect("interface");
    let network = NetworkEntry {
        flags,
        bridge: "br0".to_owned(),
        vni: VNI,
        name: name("net"),
    };
    tables.put(&[(NETWORK, network)]).expect("network");
    for prefix in ["10.9.0.0/16", "fd00:9::/64"] {
        let entry = SubnetEntry {
            network: NETWORK,
            flags,
        };
        tables
            .put(&[(prefix.parse().expect("prefix"), entry)])
            .expect("subnet");
    }
    let gateways = vec![
        Family::V4.pick([10, 9, 0, 1], ""),
        Family::V6.pick([0; 4], "fd00:9::1"),
    ];
    let endpoint = EndpointEntry {
        host_interface: "ve1".to_owned(),
        generation: 1,
        network: NETWORK,
        flags,
        bridge: "br0".to_owned(),
        mtu: mtu(family),
        mac: mac(own),
        gateway_mac: MacAddr([2, 0, 0, 0, 1, 1]),
        addresses: Family::BOTH.map(|family| inside(family, own)).into(),
        gateways: gateways.clone(),
        next: 0,
        rate: None,
        sandbox: name("box"),
    };
    tables.put(&[(SLOT, endpoint)]).expect("endpoint");
    let mut addresses: Vec<_> = gateways
        .into_iter()
        .map(|ip| (ip, AddressEntry::Gateway))
        .collect();
    for family in Family::BOTH {
        addresses.push((underlay(family, own), AddressEntry::Host));
        addresses.push((inside(family, own), AddressEntry::Endpoint(SLOT)));
    }
    tables.put(&addresses).expect("addresses");
    let peer = underlay(family, other);
    tables
        .put(&[(peer, PeerEntry { address: peer })])
        .expect("peer");
    let blocks = [
        format!("10.9.{other}.0/24"),
        format!("fd00:9::{other}:0/112"),
    ];
    let remotes = blocks.map(|prefix| {
        let prefix = prefix.parse().expect("prefix");
        let entry = RemoteEntry {
            peer,
            vni: VNI,
            mac: None,
        };
        (
            RemoteKey {
                network: NETWORK,
                prefix,
            },
            entry,
        )
    });
    tables.put(&remotes).expect("remotes");
    tables
        .put(&[(VNI, VniEntry { network: NETWORK })])
        .expect("VNI");
    let tunnel = TunnelEntry {
        port: PORT,
        v4: v4(underlay(Family::V4, own)),
        v6: v6(underlay(Family::V6, own)),
    };
    tables.put(&[((), tunnel)]).expect("tunnel");
}

/// TCP, UDP and echo requests of both families, each way.
fn exchange(hosts: &Hosts) {
    let [first, second] = &hosts.sandboxes;
    let texts = |node| Family::BOTH.map(|family| inside(family, node).to_string());
    for (client, server, node) in [(first, second, 2), (second, first, 1)] {
        let _server = peer::serve(server, "server", &["7000"]);
        let _blobs = peer::serve_blobs(server, 7001);
        let addresses = texts(node);
        peer::assert_pings(client, [&addresses[0], &addresses[1]], true);
        let requests = peer::tcp_and_udp_requests([&addresses[0], &addresses[1]], 7000);
        for reply in peer::send_requests(client, &requests) {
            assert!(
                Family::BOTH
                    .iter()
                    .any(|family| inside(*family, 3 - node).to_string() == reply.peer),
                "{reply:?}"
            );
        }
        for address in &addresses {
            peer::exchange(client, address, 7001, 3);
        }
    }
}

fn assert_clean(hosts: &Hosts) {
    for node in &hosts.nodes {
        assert_no_netfilter(node);
        assert_no_bad_checksums(node);
    }
    for sandbox in &hosts.sandboxes {
        assert_no_bad_checksums(sandbox);
    }
}

/// Frames of the underlay that tshark complains about, or that are no complete tunnel packets.
const WRONG: &str = "udp.port == 4789 && (_ws.malformed || ip.checksum.status == 0 || (ip.src == 192.0.2.0/24 && ip.flags.df#1 == 0) || vxlan.flag_i == 0 \
                     || vxlan.vni != 0xfffffe || !eth.type || udp.srcport#1 < 49152)";

fn two_nodes(family: Family) {
    let hosts = Hosts::new(family);
    let nodes = [0, 1].map(|index| Node::start(&hosts, index, family));
    let capture = Capture::start(&hosts.nodes[0], "eth0");
    exchange(&hosts);
    for node in &nodes {
        assert!(node.count("forward_encapsulated") > 100);
        assert!(node.count("forward_decapsulated") > 100);
    }
    assert_clean(&hosts);
    assert!(capture.decoded(&hosts.nodes[0], "vxlan") > 100);
    assert_eq!(capture.decoded(&hosts.nodes[0], WRONG), 0);
    drop(nodes);
}

#[test]
fn overlay_sandboxes_of_two_nodes_reach_each_other_over_ipv4() {
    two_nodes(Family::V4);
}

#[test]
fn overlay_sandboxes_of_two_nodes_reach_each_other_over_ipv6() {
    two_nodes(Family::V6);
}

/// The sender's device segments tunnel packets in software, and the receiver's merges them again.
#[test]
fn overlay_packets_are_segmented_by_the_sender_and_merged_by_the_receiver() {
    for family in Family::BOTH {
        let hosts = Hosts::new(family);
        for node in &hosts.nodes {
            node.exec(&format!("ethtool -K eth0 {NO_TUNNEL_OFFLOAD}"));
            node.exec("ethtool -K eth0 gro on");
        }
        let nodes = [0, 1].map(|index| Node::start(&hosts, index, family));
        exchange(&hosts);
        assert_clean(&hosts);
        drop(nodes);
    }
}

#[test]
fn overlay_packet_larger_than_the_route_is_reported_to_the_sandbox() {
    let family = Family::V4;
    let hosts = Hosts::new(family);
    let nodes = [0, 1].map(|index| Node::start(&hosts, index, family));
    hosts.nodes[0].exec("ip link set eth0 mtu 1400");
    let sandbox = &hosts.sandboxes[0];
    let _server = peer::serve_blobs(&hosts.sandboxes[1], 7001);
    for family in Family::BOTH {
        let address = inside(family, 2).to_string();
        let (error, mtu) = peer::send_unfragmented(sandbox, &address, 1390);
        assert_eq!(
            (error.as_deref(), mtu),
            (Some("Message too long"), Some(1350)),
            "{address}"
        );
        peer::exchange(sandbox, &address, 7001, 5);
    }
    assert!(nodes[0].count("forward_too_big") >= 2);
    assert_clean(&hosts);
}

/// Replaces the second node by a VXLAN device of the kernel with static entries.
fn with_kernel_device(family: Family) {
    let hosts = Hosts::new(family);
    let mut node = Node::start(&hosts, 0, family);
    node.set_mac_of_peer(family);
    let second = &hosts.nodes[1];
    let zero = if family.is_v4() {
        ""
    } else {
        "udp6zerocsumtx udp6zerocsumrx"
    };
    second.exec(&format!(
        "ip link add vx0 type vxlan id {VNI} dstport {PORT} local {} remote {} nolearning {zero}",
        underlay(family, 2),
        underlay(family, 1)
    ));
    second.exec("ip link set vx0 master br0 up");
    second.exec(&format!(
        "bridge fdb append {} dev vx0 dst {} static",
        mac(1),
        underlay(family, 1)
    ));
    for family in Family::BOTH {
        let ip = inside(family, 1);
        hosts.sandboxes[1].exec(&format!("ip neigh replace {ip} lladdr {} dev eth0", mac(1)));
    }
    exchange(&hosts);
    assert!(node.count("forward_encapsulated") > 100);
    assert!(node.count("forward_decapsulated") > 100);
    assert_eq!(node.count("drop_tunnel_source"), 0);
}

#[test]
fn overlay_interoperates_with_a_vxlan_device_of_the_kernel_over_ipv4() {
    with_kernel_device(Family::V4);
}

/// The kernel's device must accept and send UDP without a checksum.
#[test]
fn overlay_interoperates_with_a_vxlan_device_of_the_kernel_over_ipv6() {
    with_kernel_device(Family::V6);
}
