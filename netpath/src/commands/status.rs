//! Node status.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{CommandError, Commands, Node, NodeView};
use crate::{
    config::Config,
    datapath::{
        attach,
        read::{self, FlowTable, MapUse},
    },
    kernel::{DeviceRole, link_index, sysctl},
    model::Network,
    plan::{Attachment, Desired},
    store::objects,
};

/// Use of a map, in percent of its capacity, from which the map is reported as degraded.
const FULL: u64 = 80;

/// Status of the node: its state, programs, maps and store.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Name of the node.
    pub node: String,
    /// Whether every program is attached, the last reconcile had no failure, and the store can be written.
    pub ready: bool,
    /// Nodes that share the store, this one included; empty if the store cannot be read.
    pub nodes: Vec<NodeView>,
    /// Names of the interfaces that serve published ports.
    pub uplinks: Vec<String>,
    /// Every device of the node.
    pub interfaces: Vec<InterfaceView>,
    /// The store.
    pub store: StoreStatus,
    /// Programs of interfaces, endpoints and the cgroup.
    pub programs: Vec<ProgramStatus>,
    /// Pinned maps.
    pub maps: Vec<MapUse>,
    /// Descriptions of what does not work as configured, one line each.
    pub degraded: Vec<String>,
    /// The last reconcile; `None` before the first one.
    pub last_reconcile: Option<ReconcileStatus>,
    /// Optional kernel features, and whether the kernel has them.
    pub features: BTreeMap<String, bool>,
    /// Use and limits of the flow table.
    pub flows: FlowTable,
}

/// A device of the node, and how netpath uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceView {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: &'static str,
    /// Why it has this role.
    pub why: String,
}

impl From<&DeviceRole> for InterfaceView {
    fn from(device: &DeviceRole) -> Self {
        Self {
            name: device.name.clone(),
            role: device.role.name(),
            why: device.role.to_string(),
        }
    }
}

/// Status of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Kind: `file`, `etcd` or `consul`.
    pub kind: String,
    /// Whether it can be read, and a distributed store can be reached.
    pub reachable: bool,
    /// Whether the part that belongs to this node can be written.
    pub writable: bool,
}

/// A program at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStatus {
    /// Name of the program.
    pub name: String,
    /// Hook of the interface or of the cgroup.
    pub hook: String,
    /// Interface name; `None` for the cgroup.
    pub interface: Option<String>,
    /// Whether it is attached.
    pub attached: bool,
    /// How it is attached: `tcx`, `filter`, `xdp-native`, `xdp-generic` or `cgroup`.
    pub mode: &'static str,
}

/// Result of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconcileStatus {
    /// Time since it ended.
    pub age: Duration,
    /// Its duration.
    pub took: Duration,
    /// Operations that were needed.
    pub operations: usize,
    /// Operations that failed.
    pub failed: usize,
}

impl Commands {
    /// Status of the node.
    ///
    /// # Errors
    /// If pins cannot be read.
    pub async fn status(&self) -> Result<Status, CommandError> {
        let mut node = self.shared.node.lock().await;
        node.status(self.config())
    }
}

impl Node {
    fn status(&mut self, config: &Config) -> Result<Status, CommandError> {
        let maps = read::list(&config.bpf_dir).unwrap_or_default();
        self.watch_flow_pressure(&config.bpf_dir);
        let programs = self.programs()?;
        let failed = self.last.as_ref().is_none_or(|last| last.failed > 0);
        let store = self.store_status();
        Ok(Status {
            node: config.node.to_string(),
            ready: !failed && store.writable && programs.iter().all(|program| program.attached),
            nodes: self.nodes(),
            uplinks: self.uplinks(),
            interfaces: self.facts.devices.iter().map(Into::into).collect(),
            store,
            degraded: self.degraded(&programs, &maps),
            programs,
            flows: read::flow_table_of(&self.reconciler.datapath.tables, &maps)?,
            maps,
            last_reconcile: self.last.as_ref().map(|last| ReconcileStatus {
                age: last.ended.elapsed(),
                took: last.took,
                operations: last.operations,
                failed: last.failed,
            }),
            features: self
                .reconciler
                .datapath
                .features()
                .list()
                .map(|(name, known, _)| (name.to_owned(), known))
                .into(),
        })
    }

    fn uplinks(&self) -> Vec<String> {
        let interfaces = self.facts.facts.interfaces.iter();
        let uplinks = interfaces.filter(|(_, interface)| interface.is_uplink);
        uplinks.map(|(name, _)| name.clone()).collect()
    }

    fn nodes(&self) -> Vec<NodeView> {
        // Not an error: the status reports an unreadable store as unreachable, and an invalid record as degraded.
        tokio::task::block_in_place(|| self.node_views()).unwrap_or_default()
    }

    /// Status of the store. The reasons why it cannot be written, or cannot be reached, are reported as degraded.
    fn store_status(&mut self) -> StoreStatus {
        let store = self.stored.store();
        let (failure, readable) = tokio::task::block_in_place(|| {
            (store.write_failure(), store.list(objects::LOCAL).is_ok())
        });
        let away = store.unreachable();
        let status = StoreStatus {
            kind: store.kind().to_owned(),
            reachable: readable && away.is_none(),
            writable: failure.is_none(),
        };
        match away {
            Some(reason) => self.degraded.insert(
                "store-away",
                format!("{reason}; shared objects are those that were seen last"),
            ),
            None => self.degraded.remove("store-away"),
        };
        match failure {
            Some(failure) => self.degraded.insert("store-write", failure),
            None => self.degraded.remove("store-write"),
        };
        status
    }

    fn programs(&mut self) -> Result<Vec<ProgramStatus>, CommandError> {
        let desired = Desired::of_state(self.state(), &self.facts.facts);
        let mut programs = Vec::new();
        for attachment in desired.attachments() {
            programs.extend(self.xdp_program(&attachment)?);
            programs.push(ProgramStatus {
                name: attachment.hook.to_string(),
                hook: attachment.hook.to_string(),
                attached: self.reconciler.datapath.is_attached(&attachment)?,
                interface: Some(attachment.interface),
                mode: self.reconciler.datapath.mode().name(),
            });
        }
        let missing = self.reconciler.datapath.missing_sockets()?;
        programs.extend(attach::socket_programs().map(|name| ProgramStatus {
            name: name.to_owned(),
            hook: format!("cgroup-{name}"),
            interface: None,
            attached: !missing.contains(&name),
            mode: "cgroup",
        }));
        Ok(programs)
    }

    /// The XDP program at the interface of an attachment; `None` if the interface does not use XDP.
    fn xdp_program(
        &mut self,
        attachment: &Attachment,
    ) -> Result<Option<ProgramStatus>, CommandError> {
        let datapath = &mut self.reconciler.datapath;
        let index = link_index(&attachment.interface);
        let Some(mode) = index.and_then(|index| datapath.xdp_at(attachment, index)) else {
            return Ok(None);
        };
        Ok(Some(ProgramStatus {
            name: "xdp-deny".to_owned(),
            hook: "xdp".to_owned(),
            interface: Some(attachment.interface.clone()),
            attached: datapath.is_attached(attachment)?,
            mode: mode.name(),
        }))
    }

    /// Interfaces that do not use XDP although it is on.
    fn xdp_refusals(&self) -> impl Iterator<Item = String> {
        let refusals = self.reconciler.datapath.xdp_refusals();
        let devices = self.facts.devices.iter();
        devices.filter_map(|device| {
            let reason = refusals.get(&device.index)?;
            Some(format!(
                "interface {} does not use XDP: {reason}; its packets are checked against the deny list in TC",
                device.name
            ))
        })
    }

    fn degraded(&self, programs: &[ProgramStatus], maps: &[MapUse]) -> Vec<String> {
        let detached = programs.iter().filter(|program| !program.attached);
        let detached = detached.map(|program| {
            format!(
                "program {} is not attached to {}",
                program.name,
                program.interface.as_deref().unwrap_or("the cgroup")
            )
        });
        let full = |map: &&MapUse| map.can_fill() && map.entries * 100 >= map.max_entries * FULL;
        let full = maps.iter().filter(full).map(|map| {
            format!(
                "map {} has {} of {} entries",
                map.name, map.entries, map.max_entries
            )
        });
        let networks = self.state().networks();
        let forwarding = networks.filter_map(forwarding_problem);
        let facts = self.facts.degraded.iter().cloned();
        let degraded = self.degraded.values().cloned();
        let all = facts.chain(degraded).chain(forwarding);
        all.chain(self.xdp_refusals())
            .chain(detached)
            .chain(full)
            .collect()
    }
}

/// Why a network that uses an adopted bridge has no external access. `None` if it has external access, if it is internal,
/// or if netpath has created its bridge.
fn forwarding_problem(network: &Network) -> Option<String> {
    let bridge = network.adopted.as_ref().filter(|_| !network.internal)?;
    let families = network.subnets.iter().map(|subnet| match subnet.gateway {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    });
    let off = families
        .into_iter()
        .find(|family| !sysctl::forwards(family, bridge))?;
    Some(format!(
        "network '{}' has no external access: forwarding of bridge {bridge} is off; enable it with \
         'sysctl -w net.{off}.conf.{bridge}.forwarding=1'",
        network.name
    ))
}
