//! The node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MapInfo;

/// How the node does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the node.
    pub node: String,
    /// Version of the daemon.
    pub version: String,
    /// Everything that is wanted is in place.
    pub ready: bool,
    /// Interface names of the ways out.
    pub uplinks: Vec<String>,
    /// Where the wanted state is kept.
    pub store: Store,
    /// Programs and where each one is attached.
    pub programs: Vec<Program>,
    /// Pinned maps and their use.
    pub maps: Vec<MapInfo>,
    /// What does not work as it should, and why.
    pub degraded: Vec<String>,
    /// The last comparison of what is wanted with what is there.
    #[serde(default)]
    pub last_reconcile: Option<Reconcile>,
    /// Optional features of the kernel, and whether they are used.
    #[serde(default)]
    pub features: BTreeMap<String, bool>,
}

/// Where the wanted state is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// `file` or `etcd`.
    pub kind: String,
    /// It answers.
    pub reachable: bool,
}

/// A program at a hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Name of the program.
    pub name: String,
    /// Where on the interface, or which cgroup hook.
    pub hook: String,
    /// Interface name; `null` for cgroup hooks.
    pub interface: Option<String>,
    /// It is in place.
    pub attached: bool,
    /// How: `tcx`, `netlink`, `cgroup`, `xdp-native` or `xdp-generic`.
    #[serde(default)]
    pub mode: Option<String>,
}

/// A comparison of what is wanted with what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// Seconds since it ended.
    pub age_s: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Operations that were needed.
    pub operations: u64,
    /// Operations that failed.
    pub failed: u64,
}
