//! Hosts and cables.
//!
//! ```text
//!  host ── eth0 192.0.2.1 ─────────┬── eth0 192.0.2.2 ── outside
//!       │       2001:db8:2::1      │        2001:db8:2::2
//!       │                          └── eth0 192.0.2.3 ── neighbour (if asked for)
//!       └─ eth1 198.51.100.1 ───────── eth0 198.51.100.2 ── second (if asked for)
//!               2001:db8:51::1              2001:db8:51::2
//!
//!  outside ── eth1 198.18.0.1 ──────── eth0 198.18.0.2 ── beyond (if asked for)
//!                  2001:db8:18::1           2001:db8:18::2
//! ```
//!
//! The host's default routes lead to `outside`, which is a router if there is somebody `beyond`. Nobody but these has a
//! route to anything beyond its own links, so an address that leaks from a container gets no answer.

use crate::{Netns, assert_no_bad_checksums, assert_no_netfilter};

/// Who is joined with whom.
#[derive(Debug)]
pub struct Topology {
    /// The node under test; its programs run in a cgroup of their own.
    pub host: Netns,
    /// The world beyond `eth0`.
    pub outside: Netns,
    /// A bad neighbour on the link of `eth0`.
    pub neighbour: Option<Netns>,
    /// The world beyond `eth1`.
    pub second: Option<Netns>,
    /// Somebody behind the outside, which forwards to it over a link of its own.
    pub beyond: Option<Netns>,
    _switch: Option<Netns>,
}

/// What a [`Topology`] is to have.
#[derive(Clone, Debug)]
pub struct TopologyBuilder {
    second_uplink: bool,
    neighbour: bool,
    router: Option<u32>,
    offloads: bool,
    mtu: u32,
}

impl Topology {
    /// A host and the outside, with the kernel's default offloads.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// For more than that.
    pub fn builder() -> TopologyBuilder {
        TopologyBuilder {
            second_uplink: false,
            neighbour: false,
            router: None,
            offloads: true,
            mtu: 1500,
        }
    }

    /// Fails if the host's netfilter could have translated anything, or if anybody has received a wrong checksum.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_no_netfilter(&self.host);
        let others = [&self.neighbour, &self.second, &self.beyond];
        let others = others.into_iter().flatten();
        for netns in [&self.host, &self.outside].into_iter().chain(others) {
            assert_no_bad_checksums(netns);
        }
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self::new()
    }
}

impl TopologyBuilder {
    /// A second uplink `eth1` of the host, with somebody at its end.
    pub fn second_uplink(mut self) -> Self {
        self.second_uplink = true;
        self
    }

    /// Somebody else on the link between host and outside, which then is a switch.
    pub fn neighbour(mut self) -> Self {
        self.neighbour = true;
        self
    }

    /// Makes the outside a router to somebody `beyond`, over a link with this MTU in bytes.
    pub fn router(mut self, mtu: u32) -> Self {
        self.router = Some(mtu);
        self
    }

    /// Switches checksum, segmentation and receive offloads of every device off.
    pub fn without_offloads(mut self) -> Self {
        self.offloads = false;
        self
    }

    /// MTU of every device, in bytes.
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Makes it.
    pub fn build(self) -> Topology {
        let host = Netns::with_cgroup("host");
        let outside = Netns::new("outside");
        let (switch, neighbour) = if self.neighbour {
            let (switch, neighbour) = (Netns::new("switch"), Netns::new("neighbour"));
            switch.exec("ip link add name sw0 type bridge");
            switch.exec("ip link set sw0 up");
            for (port, end) in [(0, &host), (1, &outside), (2, &neighbour)] {
                let port = format!("p{port}");
                self.cable((&switch, &port), (end, "eth0"));
                switch.exec(&format!("ip link set {port} master sw0"));
            }
            (Some(switch), Some(neighbour))
        } else {
            self.cable((&host, "eth0"), (&outside, "eth0"));
            (None, None)
        };
        address(&host, "eth0", "192.0.2.1/24", "2001:db8:2::1/64");
        address(&outside, "eth0", "192.0.2.2/24", "2001:db8:2::2/64");
        if let Some(neighbour) = &neighbour {
            address(neighbour, "eth0", "192.0.2.3/24", "2001:db8:2::3/64");
        }
        host.exec("ip route add default via 192.0.2.2");
        host.exec("ip route add default via 2001:db8:2::2");

        let second = self.second_uplink.then(|| {
            let second = Netns::new("second");
            self.cable((&host, "eth1"), (&second, "eth0"));
            address(&host, "eth1", "198.51.100.1/24", "2001:db8:51::1/64");
            address(&second, "eth0", "198.51.100.2/24", "2001:db8:51::2/64");
            second
        });
        let beyond = self.router.map(|mtu| {
            let beyond = Netns::new("beyond");
            self.cable_of(mtu, (&outside, "eth1"), (&beyond, "eth0"));
            address(&outside, "eth1", "198.18.0.1/24", "2001:db8:18::1/64");
            address(&beyond, "eth0", "198.18.0.2/24", "2001:db8:18::2/64");
            // It asks for segments of a usual link, so that who sends to it must learn of this one.
            beyond.exec("ip route add 192.0.2.0/24 via 198.18.0.1 advmss 1460");
            beyond.exec("ip route add 2001:db8:2::/64 via 2001:db8:18::1 advmss 1440");
            forwards(&outside);
            beyond
        });
        forwards(&host);
        Topology {
            host,
            outside,
            neighbour,
            second,
            beyond,
            _switch: switch,
        }
    }

    fn cable(&self, left: (&Netns, &str), right: (&Netns, &str)) {
        self.cable_of(self.mtu, left, right);
    }

    fn cable_of(&self, mtu: u32, left: (&Netns, &str), right: (&Netns, &str)) {
        // The far end comes by file descriptor: it has no name that `ip` knows, and /proc/self is ip's own process.
        let far = right.0.path();
        left.0.exec(&format!(
            "ip link add name {} mtu {mtu} type veth peer name {} mtu {mtu} netns {}",
            left.1,
            right.1,
            far.display()
        ));
        for (netns, device) in [left, right] {
            if !self.offloads {
                netns.exec(&format!("ethtool -K {device} {NO_OFFLOADS}"));
            }
            // For a second after it comes up, a link-local address under detection may not ask for neighbours.
            netns.sysctl(&format!("net/ipv6/conf/{device}/accept_dad"), "0");
            netns.exec(&format!("ip link set {device} up"));
        }
    }
}

/// Arguments of `ethtool -K` that switch checksum, segmentation and receive offloads off.
pub const NO_OFFLOADS: &str = "tx off rx off sg off tso off gso off gro off";

fn forwards(netns: &Netns) {
    netns.sysctl("net/ipv4/ip_forward", "1");
    netns.sysctl("net/ipv6/conf/all/forwarding", "1");
}

fn address(netns: &Netns, device: &str, v4: &str, v6: &str) {
    netns.exec(&format!("ip addr add {v4} dev {device}"));
    netns.exec(&format!("ip addr add {v6} dev {device} nodad"));
}
