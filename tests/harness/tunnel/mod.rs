//! A link without an Ethernet header between two hosts: a tun device in each.

use crate::{Netns, Process, fixture::Pair};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/tunnel/tunnel.py");

/// A link between the host and another host; dropping it removes the devices.
#[derive(Debug)]
pub struct Tunnel {
    _process: Process,
}

impl Tunnel {
    /// Addresses of the host.
    pub const HOST: Pair = ("203.0.113.1", "2001:db8:113::1");
    /// Addresses of the other host.
    pub const PEER: Pair = ("203.0.113.2", "2001:db8:113::2");

    /// Creates the device `name` in both namespaces, with addresses. With `offloads`, large segments and partial checksums
    /// pass through the link.
    #[track_caller]
    pub fn between(host: &Netns, peer: &Netns, name: &str, offloads: bool) -> Self {
        let paths = [host, peer].map(|netns| netns.path().display().to_string());
        let offloads = if offloads { "1" } else { "0" };
        let mut process = host.start(&["python3", SCRIPT, name, offloads, &paths[0], &paths[1]]);
        process.wait_for_output("ready");
        for (netns, (v4, v6)) in [(host, Self::HOST), (peer, Self::PEER)] {
            netns.exec(&format!("ip addr add {v4}/24 dev {name}"));
            netns.exec(&format!("ip addr add {v6}/64 dev {name} nodad"));
            netns.exec(&format!("ip link set {name} up"));
        }
        Self { _process: process }
    }
}
