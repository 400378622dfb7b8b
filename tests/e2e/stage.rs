//! What most tests start with: a host with a daemon, an outside, and sandboxes.
//!
//! Drop order matters: a test's programs go first, then the daemon (which checks that nothing is left), then the
//! namespaces.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "two test programs share it, and neither uses all of it"
)]

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    Capture, Daemon, NO_OFFLOADS, Netns, Topology, assert_no_bad_checksums, slowdown,
};
use serde_json::Value;

/// Addresses of [`Topology`].
pub const HOST: Pair = ("192.0.2.1", "2001:db8:2::1");
/// The outside on the first uplink.
pub const OUTSIDE: Pair = ("192.0.2.2", "2001:db8:2::2");
/// The host's loopback addresses.
pub const LOOPBACK: Pair = ("127.0.0.1", "::1");
/// Subnets of network `shop`.
pub const SHOP: Pair = ("10.88.0.0/24", "fd00:88::/64");
/// Its gateways.
pub const SHOP_GATEWAY: Pair = ("10.88.0.1", "fd00:88::1");
/// Subnets of network `yard`.
pub const YARD: Pair = ("10.89.0.0/24", "fd00:89::/64");
/// Its gateways.
pub const YARD_GATEWAY: Pair = ("10.89.0.1", "fd00:89::1");

/// The same thing in both address families.
pub type Pair = (&'static str, &'static str);

/// Routes to the sandboxes of `shop` by way of the host, as a curious neighbour sets them.
pub fn routes(netns: &Netns, via: Pair) {
    netns.exec(&format!("ip route add {} via {}", SHOP.0, via.0));
    netns.exec(&format!("ip route add {} via {}", SHOP.1, via.1));
}

/// A running node with somebody outside.
pub struct Stage {
    _capture: Capture,
    /// The daemon on the host.
    pub daemon: Daemon,
    /// Hosts and cables.
    pub topology: Topology,
    /// Whether the cables of sandboxes have offloads.
    pub offloads: bool,
}

/// A sandbox with one endpoint.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Its IPv4 address.
    pub v4: String,
    /// Its IPv6 address, if its network has any.
    pub v6: String,
    /// Its MAC address.
    pub mac: String,
    /// The host's end of its cable.
    pub host_interface: String,
}

impl Sandbox {
    /// Its addresses of both families.
    pub fn addresses(&self) -> [&str; 2] {
        [&self.v4, &self.v6]
    }
}

impl Stage {
    /// The plain topology with a daemon.
    #[track_caller]
    pub fn new() -> Self {
        Self::on(Topology::new())
    }

    /// Starts a daemon on a topology.
    #[track_caller]
    pub fn on(topology: Topology) -> Self {
        Self::with(topology, &[])
    }

    /// Starts a daemon with these arguments on a topology.
    #[track_caller]
    pub fn with(topology: Topology, arguments: &[&str]) -> Self {
        Self::configured(topology, arguments, "")
    }

    /// Starts a daemon with these arguments and this configuration on a topology.
    #[track_caller]
    pub fn configured(topology: Topology, arguments: &[&str], config: &str) -> Self {
        let capture = Capture::first(&topology.outside, "eth0", 20_000);
        let mut builder = Daemon::builder(&topology.host);
        if !config.is_empty() {
            builder = builder.config(config);
        }
        let builder = arguments
            .iter()
            .fold(builder, |builder, argument| builder.argument(argument));
        let daemon = builder.start();
        Self {
            _capture: capture,
            daemon,
            topology,
            offloads: true,
        }
    }

    /// Makes a network with subnets of both families.
    #[track_caller]
    pub fn network(&self, name: &str, (v4, v6): Pair, arguments: &[&str]) {
        let mut command = vec!["network", "create", name, "--subnet", v4, "--subnet", v6];
        command.extend(arguments);
        self.daemon.cli(&command).success();
    }

    /// Makes the networks `shop` and `yard`.
    #[track_caller]
    pub fn two_networks(&self) {
        self.network("shop", SHOP, &[]);
        self.network("yard", YARD, &[]);
    }

    /// Makes a sandbox in a network, with published ports.
    #[track_caller]
    pub fn sandbox(&self, name: &str, network: &str, publish: &[&str]) -> Sandbox {
        let mut command = vec!["sandbox", "create", name, "--network", network];
        for spec in publish {
            command.extend(["-p", spec]);
        }
        self.daemon.cli(&command).success();
        let found = self.daemon.json(&["sandbox", "inspect", name]);
        let endpoint = &found[0]["endpoints"][0];
        let address = |colon: bool| {
            let mut texts = endpoint["addresses"].as_array().into_iter().flatten();
            let found = texts.find_map(|text| {
                let address = text.as_str()?.split('/').next()?;
                (address.contains(':') == colon).then(|| address.to_owned())
            });
            found.unwrap_or_default()
        };
        let text = |key: &str| endpoint[key].as_str().expect(key).to_owned();
        let path = found[0]["netns"].as_str().expect("netns");
        let sandbox = Sandbox {
            name: name.to_owned(),
            netns: Netns::open(name, Path::new(path), &self.topology.host),
            v4: address(false),
            v6: address(true),
            mac: text("mac"),
            host_interface: text("host_interface"),
        };
        if !self.offloads {
            sandbox
                .netns
                .exec(&format!("ethtool -K eth0 {NO_OFFLOADS}"));
            let device = &sandbox.host_interface;
            self.host()
                .exec(&format!("ethtool -K {device} {NO_OFFLOADS}"));
        }
        sandbox
    }

    /// The host.
    pub fn host(&self) -> &Netns {
        &self.topology.host
    }

    /// The world beyond its uplink.
    pub fn outside(&self) -> &Netns {
        &self.topology.outside
    }

    /// Waits until something is so; panics after ten seconds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            let waited = start.elapsed();
            assert!(
                waited < Duration::from_secs(10) * slowdown(),
                "not so after ten seconds: {what}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Packets counted under a reason so far.
    #[track_caller]
    pub fn counted(&self, reason: &str) -> u64 {
        let counters = self.daemon.json(&["map", "dump", "counters"]);
        let mut rows = counters.as_array().into_iter().flatten();
        let row = rows.find(|row| row["name"] == reason);
        row.map_or(0, |row| row["packets"].as_u64().expect("packets"))
    }

    /// The flows, filtered by arguments of `netpath map dump nat`.
    #[track_caller]
    pub fn flows(&self, filter: &[&str]) -> Vec<Value> {
        let mut command = vec!["map", "dump", "nat"];
        command.extend(filter);
        let flows = self.daemon.json(&command);
        flows.as_array().cloned().unwrap_or_default()
    }

    /// Fails if netfilter could have done the work, or if anybody has received a wrong checksum.
    #[track_caller]
    pub fn assert_clean(&self, sandboxes: &[&Sandbox]) {
        self.topology.assert_clean();
        for sandbox in sandboxes {
            assert_no_bad_checksums(&sandbox.netns);
        }
    }
}
