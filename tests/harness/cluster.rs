//! Nodes of a cluster: hosts on one underlay, each with a daemon, and an etcd server that they share.

use std::{
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Daemon, Netns, Output, Process, slowdown};

/// Port of the store on the switch of the underlay.
const STORE_PORT: u16 = 2379;

/// The cluster. Its fields drop in this order: a teardown needs the store.
pub struct Cluster {
    /// Nodes `n1`, `n2`, …
    pub nodes: Vec<ClusterNode>,
    store: Option<Process>,
    /// The host with the switch and the store.
    pub switch: Netns,
    directory: TempDir,
}

/// A node of a cluster.
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Its address in the underlay.
    pub address: String,
    /// Its daemon.
    pub daemon: Daemon,
    /// Its network namespace.
    pub host: Netns,
}

impl Cluster {
    /// Starts a store and this number of nodes, and waits until each knows the others.
    #[track_caller]
    pub fn start(nodes: usize) -> Self {
        let switch = Netns::new("switch");
        switch.exec("ip link add name sw0 type bridge");
        switch.exec("ip addr add 192.0.2.254/24 dev sw0");
        switch.exec("ip link set sw0 up");
        let mut cluster = Self {
            nodes: Vec::new(),
            store: None,
            switch,
            directory: TempDir::with_prefix("npt-cluster-").expect("directory"),
        };
        cluster.start_store();
        for number in 1..=nodes {
            let node = cluster.node(number);
            cluster.nodes.push(node);
        }
        cluster
    }

    /// Starts the store, with the data that it had.
    #[track_caller]
    pub fn start_store(&mut self) {
        let url = format!("http://192.0.2.254:{STORE_PORT}");
        let data = self.directory.path().join("etcd").display().to_string();
        let store = self.switch.start(&[
            "/usr/bin/etcd",
            "--data-dir",
            &data,
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
        ]);
        self.store = Some(store);
        self.switch.wait_for_port(crate::Transport::Tcp, STORE_PORT);
    }

    /// Kills the store.
    pub fn stop_store(&mut self) {
        self.store = None;
    }

    /// A host on the underlay, without a daemon.
    #[track_caller]
    pub fn host(&self, number: usize) -> Netns {
        let host = Netns::with_cgroup(&format!("n{number}"));
        let switch = &self.switch;
        switch.exec(&format!(
            "ip link add name port{number} type veth peer name eth0 netns {}",
            host.path().display()
        ));
        switch.exec(&format!("ip link set port{number} master sw0 up"));
        host.exec(&format!("ip addr add {}/24 dev eth0", address(number)));
        host.exec("ip link set eth0 up");
        host.exec("ip route add default via 192.0.2.254");
        host.sysctl("net/ipv4/ip_forward", "1");
        host.sysctl("net/ipv6/conf/all/forwarding", "1");
        host
    }

    fn node(&self, number: usize) -> ClusterNode {
        let host = self.host(number);
        let name = format!("n{number}");
        let daemon = self.daemon(&host, &name, number).start();
        ClusterNode {
            name,
            address: address(number),
            daemon,
            host,
        }
    }

    /// A daemon on a host of this cluster.
    pub fn daemon(&self, host: &Netns, name: &str, number: usize) -> crate::DaemonBuilder {
        Daemon::builder(host)
            .argument("--node")
            .argument(name)
            .argument("--store")
            .argument(&format!("etcd://192.0.2.254:{STORE_PORT}"))
            .argument("--underlay-address")
            .argument(&address(number))
    }

    /// Runs one command line for each node at the same time, several times. `line` has the index of the node and the number of
    /// the call.
    pub fn in_parallel(
        &self,
        calls: usize,
        line: impl Fn(usize, usize) -> String + Sync,
    ) -> Vec<Output> {
        let outputs = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (index, node) in self.nodes.iter().enumerate() {
                for call in 0..calls {
                    let (line, outputs) = (&line, &outputs);
                    scope.spawn(move || {
                        let output = node.cli(&line(index, call));
                        outputs.lock().expect("outputs").push(output);
                    });
                }
            }
        });
        outputs.into_inner().expect("outputs")
    }
}

impl ClusterNode {
    /// Runs the command line; the words of `line` are separated by white space.
    pub fn cli(&self, line: &str) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.daemon.cli(&words)
    }

    /// Runs the command line, which must succeed; returns its standard output.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.cli(line).success()
    }

    /// Runs the command line, which must fail; returns its standard error.
    #[track_caller]
    pub fn refused(&self, line: &str) -> String {
        self.cli(line).failure(1)
    }

    /// Runs the command line with JSON output; it must succeed.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.daemon.json(&words)
    }

    /// Waits until a network is known on this node.
    #[track_caller]
    pub fn wait_for_network(&self, name: &str) {
        let start = Instant::now();
        while self.cli(&format!("network inspect {name}")).status != Some(0) {
            let limit = Duration::from_secs(10) * slowdown();
            assert!(
                start.elapsed() < limit,
                "{} does not know {name}",
                self.name
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Addresses of the endpoints in a network.
    #[track_caller]
    pub fn addresses(&self, network: &str) -> Vec<String> {
        let sandboxes = self.json("sandbox ls");
        let sandboxes = sandboxes.as_array().expect("list");
        let endpoints = sandboxes
            .iter()
            .flat_map(|sandbox| sandbox["endpoints"].as_array().expect("list"));
        endpoints
            .filter(|endpoint| endpoint["network"] == network)
            .flat_map(|endpoint| endpoint["addresses"].as_array().expect("list"))
            .map(|address| {
                let address = address.as_str().expect("address");
                address.split('/').next().expect("address").to_owned()
            })
            .collect()
    }

    /// Namespace of a sandbox.
    #[track_caller]
    pub fn sandbox(&self, name: &str) -> Netns {
        let sandbox = &self.json(&format!("sandbox inspect {name}"))[0];
        let path = sandbox["netns"].as_str().expect("path");
        Netns::open(name, path.as_ref(), &self.host)
    }
}

fn address(number: usize) -> String {
    format!("192.0.2.{number}")
}
