//! Hosts and cables.
//!
//! ```text
//!  host ── eth0 192.0.2.1 ─────────┬── eth0 192.0.2.2 ── outside
//!       │       2001:db8:2::1      │        2001:db8:2::2
//!       │                          └── eth0 192.0.2.3 ── neighbour (if asked for)
//!       └─ eth1 198.51.100.1 ───────── eth0 198.51.100.2 ── second (if asked for)
//!               2001:db8:51::1              2001:db8:51::2
//! ```
//!
//! The host's default routes lead to `outside`. Nobody but the host has a route to anything beyond its own links, so
//! an address that leaks from a container gets no answer.

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
    _switch: Option<Netns>,
}

/// What a [`Topology`] is to have.
#[derive(Clone, Debug)]
pub struct TopologyBuilder {
    second_uplink: bool,
    neighbour: bool,
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
            offloads: true,
            mtu: 1500,
        }
    }

    /// Fails if the host's netfilter could have translated anything, or if anybody has received a wrong checksum.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_no_netfilter(&self.host);
        let others = [&self.neighbour, &self.second].into_iter().flatten();
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
        host.sysctl("net/ipv4/ip_forward", "1");
        host.sysctl("net/ipv6/conf/all/forwarding", "1");
        Topology {
            host,
            outside,
            neighbour,
            second,
            _switch: switch,
        }
    }

    fn cable(&self, left: (&Netns, &str), right: (&Netns, &str)) {
        let mtu = self.mtu;
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
                netns.exec(&format!(
                    "ethtool -K {device} tx off rx off sg off tso off gso off gro off"
                ));
            }
            // For a second after it comes up, a link-local address under detection may not ask for neighbours.
            netns.sysctl(&format!("net/ipv6/conf/{device}/accept_dad"), "0");
            netns.exec(&format!("ip link set {device} up"));
        }
    }
}

fn address(netns: &Netns, device: &str, v4: &str, v6: &str) {
    netns.exec(&format!("ip addr add {v4} dev {device}"));
    netns.exec(&format!("ip addr add {v6} dev {device} nodad"));
}
