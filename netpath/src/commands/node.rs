//! The node: state, store and reconciler.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use netpath_common::maps::VXLAN_PORT;

use crate::{
    datapath::{Datapath, read},
    kernel::{self, NodeFacts, Prefixes},
    model::{
        Change, Id, Name, State,
        request::{Env, RequestError},
    },
    plan::{Desired, Underlay},
    reconcile::{self, Depth, Host, Kernel, Outcome, Reconciler},
    store::{Revision, objects::records::NodeRecord},
};

use super::{
    CommandError, Stored,
    failures::Failures,
    flow_pressure::{EvictionPressure, FlowPressure, Report},
    membership::Membership,
    peers::Seen,
    taken::Sockets,
};

/// Writing the store, as an operation of [`Failures`]. No sandbox has this name.
const STORE: &str = "write the store";

/// Everything that belongs to one node.
pub struct Node<K = Host, D = Datapath> {
    pub(super) stored: Stored,
    pub(super) reconciler: Reconciler<K, D>,
    pub(super) facts: NodeFacts,
    /// The last full reconcile.
    pub(super) last: Option<LastReconcile>,
    /// Whether its kernel state was removed; the daemon is stopping then.
    pub(super) torn_down: bool,
    /// Descriptions of what is degraded, by topic, in addition to [`NodeFacts::degraded`].
    pub(super) degraded: BTreeMap<&'static str, String>,
    pub(super) name: Name,
    /// Random number of its state directory.
    pub(super) id: Id,
    pub(super) membership: Membership,
    /// Whether it joins the cluster again after an operator has removed it.
    pub(super) rejoins: bool,
    /// Whether the last comparison with the objects of the cluster failed.
    pub(super) unsynced: bool,
    pub(super) seen: Seen,
    /// What was applied of the objects of the cluster.
    pub(super) applied: Desired,
    underlay_address: Option<IpAddr>,
    /// The stored record of this node; `None` before the first reconcile.
    pub(super) record: Option<NodeRecord>,
    pools: Vec<crate::ipam::Pool>,
    pub(super) host_netns: PathBuf,
    free_ports: (u16, u16),
    pub(super) failures: Failures,
    flow_pressure: FlowPressure,
    eviction_pressure: EvictionPressure,
}

/// Parts of a node.
pub struct NodeParts<K = Host, D = Datapath> {
    /// Its name.
    pub name: Name,
    /// Random number of its state directory.
    pub id: Id,
    /// The state and its store.
    pub stored: Stored,
    /// Kernel and datapath.
    pub reconciler: Reconciler<K, D>,
    /// Interfaces and addresses of the node.
    pub facts: NodeFacts,
    /// Pools of new subnets.
    pub pools: Vec<crate::ipam::Pool>,
    /// Address at which other nodes reach it; those of the interfaces with a default route if `None`.
    pub underlay_address: Option<IpAddr>,
    /// Path of the namespace of the node.
    pub host_netns: PathBuf,
    /// First and last port of the range from which a host port is chosen if the request names none.
    pub free_ports: (u16, u16),
    /// Descriptions of what is degraded at startup, by topic.
    pub degraded: BTreeMap<&'static str, String>,
}

/// Result of the last full reconcile.
pub(super) struct LastReconcile {
    pub(super) ended: Instant,
    pub(super) took: Duration,
    pub(super) operations: usize,
    pub(super) failed: usize,
}

impl<K: Kernel, D: reconcile::Datapath> Node<K, D> {
    /// A node before its first reconcile.
    pub fn new(parts: NodeParts<K, D>) -> Self {
        Self {
            stored: parts.stored,
            reconciler: parts.reconciler,
            facts: parts.facts,
            last: None,
            torn_down: false,
            degraded: parts.degraded,
            name: parts.name,
            id: parts.id,
            membership: Membership::default(),
            rejoins: false,
            unsynced: false,
            seen: Seen::default(),
            applied: Desired::default(),
            underlay_address: parts.underlay_address,
            record: None,
            pools: parts.pools,
            host_netns: parts.host_netns,
            free_ports: parts.free_ports,
            failures: Failures::default(),
            flow_pressure: FlowPressure::default(),
            eviction_pressure: EvictionPressure::default(),
        }
    }

    /// Objects of the store.
    pub fn state(&self) -> &State {
        self.stored.state()
    }

    /// Loads the state if another writer has made a commit up to `revision` that is not loaded, and reconciles the node
    /// with it. Returns whether it has loaded the state.
    ///
    /// # Errors
    /// If the store cannot be read, its objects are invalid, or the node cannot be observed.
    pub(super) async fn follow_store(
        &mut self,
        revision: Revision,
        uplinks: &[String],
    ) -> Result<bool, CommandError> {
        let followed = tokio::task::block_in_place(|| self.stored.follow(revision));
        match &followed {
            Ok(_) => self.degraded.remove("store"),
            Err(error) => self.degraded.insert(
                "store",
                format!("changes in the store are not applied: {error}"),
            ),
        };
        if followed? {
            self.reconcile(Depth::Inside, uplinks).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Evaluates a request and applies its change.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub(super) async fn request(
        &mut self,
        request: impl FnOnce(&State, &mut Env<'_>) -> Result<Change, RequestError>,
    ) -> Result<Change, CommandError> {
        self.request_in(&[], request).await
    }

    /// As [`Self::request`], for a request about a namespace with these interfaces.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub(super) async fn request_in(
        &mut self,
        interfaces: &[String],
        request: impl FnOnce(&State, &mut Env<'_>) -> Result<Change, RequestError>,
    ) -> Result<Change, CommandError> {
        let change = self.evaluate(&Prefixes::default(), interfaces, request)?;
        self.apply(&change).await?;
        Ok(change)
    }

    pub(super) fn evaluate<T>(
        &self,
        prefixes: &Prefixes,
        interfaces: &[String],
        request: impl FnOnce(&State, &mut Env<'_>) -> Result<T, RequestError>,
    ) -> Result<T, CommandError> {
        if self.torn_down {
            return Err(CommandError::TornDown);
        }
        let mut random = kernel::random;
        let sockets = Sockets::default();
        let listening = |engine, protocol, ip, port| sockets.owner(engine, protocol, ip, port);
        let mut env = Env {
            random: &mut random,
            connected: &prefixes.connected,
            routed: &prefixes.routed,
            pools: &self.pools,
            listening: &listening,
            free_ports: self.free_ports,
            tunnel_port: VXLAN_PORT,
            host_netns: &self.host_netns,
            interfaces,
        };
        Ok(request(self.state(), &mut env)?)
    }

    /// Stores a change and applies it to the kernel and the datapath. If an operation fails, the change is reversed.
    ///
    /// # Errors
    /// The error of the first step that failed. [`CommandError::NotReversed`] if the reversal cannot be stored; the change
    /// stays stored then.
    pub(super) async fn apply(&mut self, change: &Change) -> Result<(), CommandError> {
        self.record(change)?;
        let (mut before, mut after) = Desired::of_change(change, self.state(), &self.facts.facts);
        before.drop_common_ports(&mut after);
        let new = after.veths.keys();
        let new = new.filter(|name| !before.veths.contains_key(*name));
        after.first_veths = new.cloned().collect();
        let Err(error) = self.reconciler.apply(&before, &after).await else {
            return Ok(());
        };
        let undo = change.clone().reversed();
        if let Err(reversal) = self.record(&undo) {
            return Err(CommandError::NotReversed {
                error: Box::new(error.into()),
                reversal: Box::new(reversal),
            });
        }
        if let Err(second) = self.reconciler.apply(&after, &before).await {
            tracing::error!(
                error = %second,
                "cannot reverse a failed change; a reconcile repairs it"
            );
        }
        Err(error.into())
    }

    /// Reads the facts of the node, and reconciles the node to `depth`.
    ///
    /// # Errors
    /// If the node cannot be observed.
    pub async fn reconcile(
        &mut self,
        depth: Depth,
        uplinks: &[String],
    ) -> Result<Outcome, CommandError> {
        if self.torn_down {
            return Err(CommandError::TornDown);
        }
        let began = Instant::now();
        let adopted = self.state().adopted_devices();
        let kernel = &self.reconciler.kernel;
        let mut facts = kernel.facts(uplinks, &adopted).await?;
        // A DHCP client may remove the default route temporarily.
        facts.facts.mtu = facts.facts.mtu.or(self.facts.facts.mtu);
        self.facts = facts;
        self.update_underlay();
        self.store_record();
        if self.unsynced {
            // Not fatal: the status reports a failure.
            let _ = self.sync_cluster().await;
        }
        // The removal of an ended sandbox cannot be stored while the store cannot be written. Its lost namespace must not be
        // replaced by an empty one.
        let ended = self.ended_sandboxes();
        let desired = Desired::of_state_without(self.state(), &ended, &self.facts.facts);
        let outcome = self.reconciler.reconcile(&desired, depth).await?;
        self.applied = Desired::of_cluster(self.state(), &self.facts.facts);
        self.last = Some(LastReconcile {
            ended: Instant::now(),
            took: began.elapsed(),
            operations: outcome.operations.len(),
            failed: outcome.errors.len(),
        });
        match outcome.errors.first() {
            Some(error) => self.degraded.insert("reconcile", error.to_string()),
            None => self.degraded.remove("reconcile"),
        };
        self.watch_port_conflicts(&desired);
        Ok(outcome)
    }

    /// Attaches the programs of a new or renamed interface, and adds its entry, before a reconcile observes the node.
    /// Its addresses are added by that reconcile. Nothing happens if the device is not an interface.
    pub(super) async fn attach_interface(
        &mut self,
        index: u32,
        uplinks: &[String],
    ) -> Result<(), CommandError> {
        let adopted = self.state().adopted_devices();
        let kernel = &self.reconciler.kernel;
        let Some((device, interface)) = kernel.interface(index, uplinks, &adopted).await? else {
            return Ok(());
        };
        let name = device.name.clone();
        let after = Desired::of_interface(name.clone(), interface.clone());
        self.reconciler.apply(&Desired::default(), &after).await?;
        self.facts.facts.interfaces.insert(name, interface);
        self.facts.devices.retain(|other| other.index != index);
        self.facts.devices.push(device);
        Ok(())
    }

    /// Whether the device with this index and name is known as an interface with programs.
    pub(super) fn is_interface(&self, index: u32, name: &str) -> bool {
        let mut devices = self.facts.devices.iter();
        devices.any(|device| {
            device.index == index && device.name == name && device.role.header().is_some()
        })
    }

    /// Stores a change without applying it to the kernel and the datapath.
    pub(super) fn record(&mut self, change: &Change) -> Result<(), CommandError> {
        let recorded = tokio::task::block_in_place(|| self.stored.record(change));
        match &recorded {
            Ok(()) => self.note_written(),
            Err(error) if error.is_unwritable() => self.note_unwritable(error),
            Err(_) => {}
        }
        recorded
    }

    /// Addresses at which other nodes reach this one.
    fn underlay_addresses(&self) -> BTreeSet<IpAddr> {
        match self.underlay_address {
            Some(address) => [address].into(),
            None => self.facts.addresses.clone(),
        }
    }

    /// Determines how this node reaches the other nodes that it knows.
    pub(super) fn update_underlay(&mut self) {
        let addresses = self.underlay_addresses();
        let mut interfaces = self.facts.facts.interfaces.values();
        let own = self.underlay_address;
        let own = own.and_then(|ip| interfaces.find(|it| [it.v4, it.v6].contains(&Some(ip))));
        let mtu = own.map(|interface| interface.mtu);
        let underlay = Underlay::new(&addresses, mtu, self.state().peers());
        self.facts.facts.underlay = underlay;
    }

    fn note_written(&mut self) {
        if self.failures.note_success(STORE) {
            tracing::info!("the store can be written again");
        }
    }

    fn note_unwritable(&mut self, error: &CommandError) {
        if self.failures.note_failure(STORE) {
            tracing::error!(%error, "cannot write the store");
        }
    }

    /// Stores the record of this node if it has changed.
    pub(super) fn store_record(&mut self) {
        if self.membership != Membership::Member {
            return;
        }
        let addresses = self.underlay_addresses();
        // The default route may be missing temporarily.
        if addresses.is_empty() && self.record.is_some() {
            return;
        }
        let record = NodeRecord {
            name: self.name.clone(),
            addresses: addresses.into_iter().collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            id: Some(self.id),
            removed: false,
        };
        if self.record.as_ref() == Some(&record) {
            return;
        }
        match tokio::task::block_in_place(|| self.stored.store_node(&record)) {
            Ok(()) => {
                self.note_written();
                self.degraded.remove("node record");
                self.record = Some(record);
                self.rejoins = false;
            }
            Err(error) => {
                // Not fatal: other nodes read the earlier record.
                self.note_unwritable(&error);
                let text = format!("the record of the node is not stored: {error}");
                self.degraded.insert("node record", text);
            }
        }
    }
}

impl Node {
    /// Reports new flows that were refused because a limit was reached, and flows that were evicted for new ones: in the
    /// status, and in the log.
    pub(super) fn watch_flow_pressure(&mut self, bpf_dir: &Path) {
        let counters = match read::counters(bpf_dir) {
            Ok(counters) => counters,
            Err(error) => {
                tracing::warn!(%error, "cannot read the counters of refused and evicted flows");
                return;
            }
        };
        let tables = &self.reconciler.datapath.tables;
        let now = Instant::now();
        let refused = self.flow_pressure.update(now, &counters, || {
            // Without the counts, the report names no sandbox.
            tables.top().ok()
        });
        match tables.evictions() {
            Ok(evictions) => {
                let evicted = self.eviction_pressure.update(now, &counters, evictions);
                self.report("evictions", evicted);
            }
            Err(error) => tracing::warn!(%error, "cannot read the numbers of evicted flows"),
        }
        self.report("flows", refused);
    }

    fn report(&mut self, topic: &'static str, report: Report) {
        match report.degraded {
            Some(text) => {
                if report.warn {
                    tracing::warn!("{text}");
                }
                self.degraded.insert(topic, text);
            }
            None => {
                self.degraded.remove(topic);
            }
        }
    }
}
