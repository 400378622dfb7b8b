//! The three setups, each with a host, an outside and a sandbox.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netpath_tests::{Daemon, Netns, counters, fixture::Topology, netpath_binary};

use crate::docker::{self, Variant};

/// The published port.
pub const PUBLISHED: u16 = 8080;
/// The port of the servers in the sandbox and outside.
pub const INSIDE: u16 = 80;

/// Number of additional addresses of the outside, of which each round uses one.
const ALIASES: u16 = 64;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What translates or routes packets in a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Setup {
    /// netpath.
    Netpath,
    /// The iptables rules of dockerd.
    Iptables,
    /// Routing without translation.
    Routing,
}

impl Setup {
    /// In the order of the table.
    pub const ALL: [Self; 3] = [Self::Netpath, Self::Iptables, Self::Routing];

    /// The name in the results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Netpath => "netpath",
            Self::Iptables => "iptables",
            Self::Routing => "routing",
        }
    }
}

/// The hosts of a setup: a host between the outside and a sandbox.
pub struct SetupHosts {
    /// The host and the outside.
    pub topology: Topology,
    /// The namespace with the server.
    pub sandbox: Netns,
    /// The address of the sandbox.
    pub inside: IpAddr,
    /// The address and port at which clients outside reach the server.
    pub published: SocketAddr,
}

/// The three setups.
pub struct Setups {
    /// The measured family.
    pub family: Family,
    // Before the namespaces, because fields are dropped in this order.
    /// The daemon of [`Setup::Netpath`].
    pub daemon: Daemon,
    hosts: [SetupHosts; 3],
    _sibling: Netns,
}

/// The name of a further netpath sandbox.
pub const SIBLING: &str = "sibling";
/// The name of the netpath sandbox with the server.
pub const SERVER: &str = "server";

/// Addresses of the sandboxes of the other setups.
const SANDBOX: (&str, &str) = ("172.17.0.2", "fd00:17::2");
const GATEWAY: (&str, &str) = ("172.17.0.1", "fd00:17::1");
const SUBNET: (&str, &str) = ("172.17.0.0/16", "fd00:17::/64");

impl Setups {
    /// Creates the setups.
    pub fn new(family: Family, docker: Variant) -> Self {
        let (daemon, netpath, sibling) = with_netpath(family);
        Self {
            family,
            daemon,
            hosts: [netpath, with_iptables(family, docker), with_routes(family)],
            _sibling: sibling,
        }
    }

    /// The hosts of a setup.
    pub fn hosts(&self, setup: Setup) -> &SetupHosts {
        &self.hosts[setup as usize]
    }

    /// The address of a netpath sandbox in the measured family.
    pub fn address_of(&self, sandbox: &str) -> IpAddr {
        endpoint_address(&self.daemon, sandbox, self.family)
    }

    /// An address of the outside for a round, so that flows of earlier rounds do not affect new ones.
    pub fn outside(&self, round: usize) -> IpAddr {
        let number = 0x10 + (round % usize::from(ALIASES)) as u16;
        match self.family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, number as u8).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, number).into(),
        }
    }

    /// Fails unless packets took the paths to be compared: conntrack has entries in one setup only, netpath has flows,
    /// and all packets have correct checksums.
    pub fn assert_paths(&self) {
        let flows = self.daemon.json(&["map", "dump", "nat"]);
        assert!(
            flows.as_array().is_some_and(|flows| !flows.is_empty()),
            "netpath has no flow"
        );
        for setup in [Setup::Netpath, Setup::Routing] {
            self.hosts(setup).topology.assert_clean();
        }
        let iptables = &self.hosts(Setup::Iptables).topology.host;
        let tracked = iptables.enter(|| {
            std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default()
        });
        assert!(!tracked.is_empty(), "iptables tracks no connection");
        for setup in Setup::ALL {
            let counters = counters(&self.hosts(setup).topology.host);
            let forwarded = counters.get("IpForwDatagrams").copied().unwrap_or(0)
                + counters.get("Ip6OutForwDatagrams").copied().unwrap_or(0);
            // Packets that netpath forwards bypass the host's stack.
            assert_eq!(
                forwarded > 10_000,
                setup != Setup::Netpath,
                "{} packets forwarded by the stack of {setup:?}",
                forwarded
            );
        }
    }
}

fn with_netpath(family: Family) -> (Daemon, SetupHosts, Netns) {
    let topology = topology();
    let daemon = Daemon::builder(&topology.host)
        .binary(&netpath_binary())
        .start();
    daemon
        .cli(&["network", "create", "bench", "--ipv6"])
        .success();
    let publish = [
        format!("{PUBLISHED}:{INSIDE}/tcp"),
        format!("{PUBLISHED}:{INSIDE}/udp"),
    ];
    let sandbox = adopt(&daemon, SERVER, &publish);
    let sibling = adopt(&daemon, SIBLING, &[]);
    let published = SocketAddr::new(host_address(family), PUBLISHED);
    let inside = endpoint_address(&daemon, SERVER, family);
    (
        daemon,
        SetupHosts {
            topology,
            sandbox,
            inside,
            published,
        },
        sibling,
    )
}

fn endpoint_address(daemon: &Daemon, sandbox: &str, family: Family) -> IpAddr {
    let found = daemon.json(&["sandbox", "inspect", sandbox]);
    let addresses = found[0]["endpoints"][0]["addresses"].as_array();
    addresses
        .into_iter()
        .flatten()
        .filter_map(|cidr| cidr.as_str()?.split('/').next()?.parse().ok())
        .find(|address: &IpAddr| address.is_ipv4() == (family == Family::V4))
        .expect("the sandbox has an address of the family")
}

fn adopt(daemon: &Daemon, name: &str, publish: &[String]) -> Netns {
    let netns = Netns::new("sandbox");
    tune(&netns);
    let path = netns.path().display().to_string();
    let mut words = vec![
        "sandbox",
        "create",
        name,
        "--network",
        "bench",
        "--netns",
        &path,
    ];
    for spec in publish {
        words.extend(["-p", spec]);
    }
    daemon.cli(&words).success();
    netns
}

fn with_iptables(family: Family, docker: Variant) -> SetupHosts {
    let topology = topology();
    let host = &topology.host;
    let bridge = docker::BRIDGE;
    host.exec(&format!("ip link add name {bridge} type bridge"));
    host.exec(&format!("ip link set {bridge} up"));
    let sandbox = cable(host, "veth0");
    host.exec(&format!("ip link set veth0 master {bridge}"));
    if !docker.proxy {
        host.exec("ip link set veth0 type bridge_slave hairpin on");
    }
    address_gateway(host, bridge);
    let (subnet, container) = match family {
        Family::V4 => (SUBNET.0, SANDBOX.0),
        Family::V6 => (SUBNET.1, SANDBOX.1),
    };
    let container = container.parse().expect("an address");
    docker::install(host, family, subnet, container, docker.proxy);
    if docker.user_network {
        docker::install_resolver(&sandbox);
    }
    SetupHosts {
        topology,
        sandbox,
        inside: container,
        published: SocketAddr::new(host_address(family), PUBLISHED),
    }
}

fn with_routes(family: Family) -> SetupHosts {
    let topology = topology();
    let sandbox = cable(&topology.host, "veth0");
    address_gateway(&topology.host, "veth0");
    let outside = &topology.outside;
    outside.exec(&format!("ip route add {} via 192.0.2.1", SUBNET.0));
    outside.exec(&format!("ip route add {} via 2001:db8:2::1", SUBNET.1));
    let server = match family {
        Family::V4 => SANDBOX.0,
        Family::V6 => SANDBOX.1,
    };
    let server = server.parse().expect("an address");
    SetupHosts {
        topology,
        sandbox,
        inside: server,
        published: SocketAddr::new(server, INSIDE),
    }
}

fn topology() -> Topology {
    let topology = Topology::new();
    let outside = &topology.outside;
    for alias in 0x10..0x10 + ALIASES {
        outside.exec(&format!("ip addr add 192.0.2.{alias}/24 dev eth0"));
        outside.exec(&format!(
            "ip addr add 2001:db8:2::{alias:x}/64 dev eth0 nodad"
        ));
    }
    tune(outside);
    topology
}

/// A client opens more connections per round than the default range has ports.
fn tune(netns: &Netns) {
    netns.sysctl("net/ipv4/ip_local_port_range", "1024 65535");
}

fn cable(host: &Netns, device: &str) -> Netns {
    let sandbox = Netns::new("sandbox");
    let path = sandbox.path().display().to_string();
    host.exec(&format!(
        "ip link add name {device} mtu 1500 type veth peer name eth0 mtu 1500 netns {path}"
    ));
    host.exec(&format!("ip link set {device} up"));
    sandbox.exec("ip link set eth0 up");
    sandbox.exec(&format!("ip addr add {}/16 dev eth0", SANDBOX.0));
    sandbox.exec(&format!("ip addr add {}/64 dev eth0 nodad", SANDBOX.1));
    sandbox.exec(&format!("ip route add default via {}", GATEWAY.0));
    sandbox.exec(&format!("ip route add default via {}", GATEWAY.1));
    tune(&sandbox);
    sandbox
}

fn address_gateway(host: &Netns, device: &str) {
    host.exec(&format!("ip addr add {}/16 dev {device}", GATEWAY.0));
    host.exec(&format!("ip addr add {}/64 dev {device} nodad", GATEWAY.1));
}

fn host_address(family: Family) -> IpAddr {
    let address = match family {
        Family::V4 => "192.0.2.1",
        Family::V6 => "2001:db8:2::1",
    };
    address.parse().expect("an address")
}
