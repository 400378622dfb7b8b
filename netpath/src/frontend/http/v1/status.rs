//! The node.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::MapInfo;

/// Node status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the node.
    pub node: String,
    /// Version of the daemon.
    pub version: String,
    /// Whether every program is attached, the last reconcile had no failure, and the store can be written.
    pub ready: bool,
    /// Nodes that share the store, this one included.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// Names of the interfaces that serve published ports, and through which sandboxes send.
    pub uplinks: Vec<String>,
    /// Every device of the node.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// The store.
    pub store: Store,
    /// Programs and where each one is attached.
    pub programs: Vec<Program>,
    /// Pinned maps and their use.
    pub maps: Vec<MapInfo>,
    /// What is degraded, and why.
    pub degraded: Vec<String>,
    /// The last reconcile.
    #[serde(default)]
    pub last_reconcile: Option<Reconcile>,
    /// Optional kernel features, and whether the kernel has them.
    #[serde(default)]
    pub features: BTreeMap<String, bool>,
    /// The flow table; `null` if it cannot be read.
    #[serde(default)]
    pub flows: Option<Flows>,
    /// How long flows may be idle, in seconds, by the names of the settings; whole numbers unless the settings say
    /// otherwise.
    #[serde(default)]
    pub timers: BTreeMap<String, serde_json::Number>,
}

/// A node: `GET /v1/nodes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Addresses at which other nodes reach it.
    pub addresses: Vec<IpAddr>,
    /// Version of its daemon.
    pub version: String,
    /// `ready`; `unreachable` if it is not running or cannot reach the store; `removed`.
    #[serde(default)]
    pub state: String,
    /// Overlay networks in which it has claimed addresses.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Seconds since it was running, 0 if it is; at least the time since this daemon has started if it was not running since
    /// then.
    #[serde(default)]
    pub last_seen_s: u64,
}

/// A device of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `uplink`: serves published ports. `guarded`: an interface that the setting `uplink` excludes. `port`: its master
    /// receives its packets. `own`: netpath's, or adopted. `loopback`, `skipped`, `unsupported`: no programs are attached.
    pub role: String,
    /// Why it has this role.
    pub why: String,
}

/// The flow table and its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Flows in the table, expired ones included until they are removed.
    pub entries: u64,
    /// Capacity in flows.
    pub capacity: u64,
    /// Limit of the half-open flows of one endpoint and direction.
    pub half_open_budget: u64,
    /// Quota of TCP flows and sustained flows of one sandbox on each of its networks.
    pub per_sandbox_limit: u64,
    /// Memory per flow of a full table, in bytes.
    pub bytes_per_flow: u64,
    /// The sandboxes with most flows, at most five, in descending order.
    pub top: Vec<SandboxFlows>,
}

/// How many flows a sandbox has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxFlows {
    /// Its name.
    pub sandbox: String,
    /// Flows that it has opened, and those from outside to its published ports.
    pub flows: u64,
}

/// The store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Kind: `file`, `etcd` or `consul`.
    pub kind: String,
    /// Whether it responds. If a distributed store does not, `degraded` contains the reason.
    pub reachable: bool,
    /// Whether it accepts changes of objects of this node. If not, `degraded` contains the reason.
    #[serde(default)]
    pub writable: bool,
}

/// A program at a hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Name of the program.
    pub name: String,
    /// Hook of the interface or of the cgroup.
    pub hook: String,
    /// Interface name; `null` for cgroup hooks.
    pub interface: Option<String>,
    /// Whether it is attached.
    pub attached: bool,
    /// Kind of attachment: `tcx`, `filter`, `cgroup`, `xdp-native` or `xdp-generic`.
    #[serde(default)]
    pub mode: Option<String>,
}

/// Result of a reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// Seconds since it ended.
    pub age_s: u64,
    /// Duration in milliseconds.
    pub duration_ms: u64,
    /// Operations that were needed.
    pub operations: u64,
    /// Operations that failed.
    pub failed: u64,
}
