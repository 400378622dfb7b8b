//! The node: state, store and reconciler, and the one way to change them.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use netpath_common::maps::VXLAN_PORT;

use crate::{
    datapath::dump,
    kernel::{self, NodeFacts, listeners},
    model::{
        Change, Protocol, State,
        request::{Env, RequestError},
    },
    plan::Desired,
    reconcile::{Depth, Outcome, Reconciler},
    store::{Store, objects},
};

use super::{DaemonError, exhaustion::Exhaustion};

/// Everything that belongs to one node.
pub struct Node {
    pub(super) state: State,
    pub(super) store: Box<dyn Store>,
    pub(super) reconciler: Reconciler,
    pub(super) facts: NodeFacts,
    pub(super) surroundings: Surroundings,
    pub(super) last: Option<LastReconcile>,
    /// Nothing of it is in the kernel any more; the daemon is about to end.
    pub(super) torn_down: bool,
    /// Uplinks without a default route, and since when.
    pub(super) lost_uplinks: BTreeMap<String, Instant>,
    /// What is wrong beside the facts, by topic.
    pub(super) troubles: BTreeMap<&'static str, String>,
    pub(super) exhaustion: Exhaustion,
}

/// What requests must know of the node and that does not change while the daemon runs.
pub(super) struct Surroundings {
    pub(super) pools: Vec<crate::ipam::Pool>,
    pub(super) host_netns: std::path::PathBuf,
    pub(super) free_ports: (u16, u16),
    /// How long an uplink is kept without a default route.
    pub(super) hold: Duration,
}

/// The last look at everything.
pub(super) struct LastReconcile {
    pub(super) ended: Instant,
    pub(super) took: Duration,
    pub(super) operations: usize,
    pub(super) failed: usize,
}

impl Node {
    /// Answers a request and makes its change: stored, then in force. If it cannot be brought into force, it is undone.
    ///
    /// # Errors
    /// If the request is refused or the change fails; nothing is changed then.
    pub async fn request(
        &mut self,
        answer: impl FnOnce(&State, &mut Env<'_>) -> Result<Change, RequestError>,
    ) -> Result<Change, DaemonError> {
        let change = self.answer(answer)?;
        self.make(&change).await?;
        Ok(change)
    }

    /// Answers a request without making its change.
    ///
    /// # Errors
    /// If the request is refused.
    pub fn answer<T>(
        &self,
        answer: impl FnOnce(&State, &mut Env<'_>) -> Result<T, RequestError>,
    ) -> Result<T, DaemonError> {
        self.answer_avoiding(&[], answer)
    }

    /// Answers a request that may need a new subnet.
    ///
    /// # Errors
    /// As [`Self::answer`]; also if the node's routes cannot be read.
    pub async fn answer_with_routes<T>(
        &self,
        answer: impl FnOnce(&State, &mut Env<'_>) -> Result<T, RequestError>,
    ) -> Result<T, DaemonError> {
        let avoid: Vec<_> = self.foreign_prefixes().await?;
        self.answer_avoiding(&avoid, answer)
    }

    fn answer_avoiding<T>(
        &self,
        avoid: &[ipnet::IpNet],
        answer: impl FnOnce(&State, &mut Env<'_>) -> Result<T, RequestError>,
    ) -> Result<T, DaemonError> {
        if self.torn_down {
            return Err(DaemonError::TornDown);
        }
        let mut random = kernel::random;
        let sockets = Sockets::default();
        let listening = |protocol: Protocol, ip, port| sockets.owner(protocol, ip, port);
        let mut env = Env {
            random: &mut random,
            avoid,
            pools: &self.surroundings.pools,
            listening: &listening,
            free_ports: self.surroundings.free_ports,
            tunnel_port: VXLAN_PORT,
            host_netns: &self.surroundings.host_netns,
        };
        Ok(answer(&self.state, &mut env)?)
    }

    /// Makes a change: stored, then in force, or undone.
    ///
    /// # Errors
    /// That of the first step that failed.
    pub async fn make(&mut self, change: &Change) -> Result<(), DaemonError> {
        self.record_only(change)?;
        let (mut before, mut after) = Desired::of_change(change, &self.state, &self.facts.facts);
        before.drop_common_ports(&mut after);
        let Err(error) = self.reconciler.apply(&before, &after).await else {
            return Ok(());
        };
        let undo = change.clone().reversed();
        self.record_only(&undo)?;
        if let Err(second) = self.reconciler.apply(&after, &before).await {
            tracing::error!(error = %second, "cannot undo a change that failed; the next reconcile will");
        }
        Err(error.into())
    }

    /// Compares everything with what is wanted, and repairs it.
    ///
    /// # Errors
    /// If it cannot be observed.
    pub async fn reconcile(
        &mut self,
        depth: Depth,
        uplinks: &[String],
    ) -> Result<Outcome, DaemonError> {
        if self.torn_down {
            return Err(DaemonError::TornDown);
        }
        let began = Instant::now();
        let mut facts = self.reconciler.kernel.facts(uplinks).await?;
        if uplinks.is_empty() {
            self.hold_uplinks(&mut facts).await?;
        }
        self.facts = facts;
        let desired = Desired::of_state(&self.state, &self.facts.facts);
        let outcome = self.reconciler.reconcile(&desired, depth).await?;
        self.last = Some(LastReconcile {
            ended: Instant::now(),
            took: began.elapsed(),
            operations: outcome.operations.len(),
            failed: outcome.errors.len(),
        });
        match outcome.errors.first() {
            Some(error) => self.troubles.insert("reconcile", error.to_string()),
            None => self.troubles.remove("reconcile"),
        };
        Ok(outcome)
    }

    /// Notes whether new flows were refused for want of room, and says so in the log.
    pub(super) fn watch_exhaustion(&mut self, bpf_dir: &Path) {
        let counters = match dump::counters(bpf_dir) {
            Ok(counters) => counters,
            Err(error) => {
                tracing::warn!(%error, "cannot see whether flows were refused");
                return;
            }
        };
        let tables = &self.reconciler.datapath.tables;
        let report = self.exhaustion.look(Instant::now(), &counters, || {
            // Without the culprit, what happened is worth saying too.
            tables.top().unwrap_or_default()
        });
        match report.degraded {
            Some(text) => {
                if report.warn {
                    tracing::warn!("{text}");
                }
                self.troubles.insert("flows", text);
            }
            None => {
                self.troubles.remove("flows");
            }
        }
    }

    /// Keeps an uplink for a while that has lost its default route: a DHCP client takes it away for a moment, and
    /// without programs the node itself would answer for the sandboxes, with resets.
    async fn hold_uplinks(&mut self, facts: &mut NodeFacts) -> Result<(), kernel::Error> {
        for (name, uplink) in &self.facts.facts.uplinks {
            if facts.facts.uplinks.contains_key(name) {
                self.lost_uplinks.remove(name);
                continue;
            }
            let since = *self
                .lost_uplinks
                .entry(name.clone())
                .or_insert_with(Instant::now);
            if since.elapsed() < self.surroundings.hold
                && self.reconciler.kernel.link(name).await?.is_some()
            {
                facts.facts.uplinks.insert(name.clone(), uplink.clone());
            }
        }
        let held = &facts.facts.uplinks;
        self.lost_uplinks.retain(|name, _| held.contains_key(name));
        Ok(())
    }

    /// Stores a change without bringing it into force.
    pub(super) fn record_only(&mut self, change: &Change) -> Result<(), DaemonError> {
        let generation = self.state.generation_after(change);
        tokio::task::block_in_place(|| objects::commit(self.store.as_ref(), change, generation))?;
        self.state.apply(change)?;
        Ok(())
    }

    /// Prefixes of the node's routes that are not those of our own networks.
    async fn foreign_prefixes(&self) -> Result<Vec<ipnet::IpNet>, kernel::Error> {
        let prefixes = self.reconciler.kernel.route_prefixes().await?;
        let own: std::collections::BTreeSet<_> = self
            .state
            .networks()
            .flat_map(|network| network.subnets.iter().map(|subnet| subnet.prefix))
            .collect();
        Ok(prefixes
            .into_iter()
            .filter(|prefix| !own.contains(prefix))
            .collect())
    }
}

/// The sockets of the node, read once for a request that asks about many ports.
#[derive(Default)]
struct Sockets {
    by_port: OnceCell<HashMap<(Protocol, u16), Vec<listeners::Listener>>>,
}

impl Sockets {
    fn owner(&self, protocol: Protocol, ip: Option<IpAddr>, port: u16) -> Option<String> {
        let listeners = self
            .by_port
            .get_or_init(read_listeners)
            .get(&(protocol, port))?;
        let listener = listeners.iter().find(|listener| listener.serves(ip))?;
        let owner = listeners::owner(listener.inode);
        Some(owner.unwrap_or_else(|| "a program".to_owned()))
    }
}

fn read_listeners() -> HashMap<(Protocol, u16), Vec<listeners::Listener>> {
    let mut by_port: HashMap<_, Vec<_>> = HashMap::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        match listeners::all(protocol) {
            Ok(all) => {
                for listener in all {
                    by_port
                        .entry((protocol, listener.port))
                        .or_default()
                        .push(listener);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot see who listens on ports of the node"),
        }
    }
    by_port
}
