//! Commands on the nodes of the cluster.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{Action, CommandError, Commands, Node, ObjectKind};
use crate::{
    model::{
        Name,
        request::RequestError,
        state::{ClusterNetwork, unknown},
    },
    reconcile::{self, Kernel},
    store::objects::{self, overlays, publication, records::NodeRecord},
};

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: Name,
    /// Addresses at which other nodes reach it.
    pub addresses: Vec<IpAddr>,
    /// Version of its daemon.
    pub version: String,
    /// Whether it takes part in the cluster.
    pub state: NodeState,
    /// Overlay networks in which it has claimed addresses.
    pub networks: Vec<Name>,
    /// Time since it was running; at least the time since this daemon has started if it was not running since then.
    pub last_seen: Duration,
}

/// Whether a node takes part in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is running.
    Ready,
    /// It is not running, or cannot reach the store.
    Unreachable,
    /// An operator has removed it.
    Removed,
}

/// When other nodes were running.
#[derive(Debug)]
pub(super) struct Seen {
    started: Instant,
    ended: BTreeMap<Name, Instant>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            ended: BTreeMap::new(),
        }
    }
}

impl Commands {
    /// Every node of the cluster, by name.
    ///
    /// # Errors
    /// If the store cannot be read, or a record is invalid.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, CommandError> {
        let node = self.shared.node.lock().await;
        tokio::task::block_in_place(|| node.node_views())
    }

    /// One node of the cluster.
    ///
    /// # Errors
    /// If it does not exist, or the store cannot be read.
    pub async fn node(&self, name: &Name) -> Result<NodeView, CommandError> {
        let views = self.nodes().await?;
        let names: Vec<Name> = views.iter().map(|view| view.name.clone()).collect();
        let found = views.into_iter().find(|view| view.name == *name);
        found.ok_or_else(|| unknown("node", name.as_str(), names.iter()).into())
    }

    /// Removes a node that no longer exists from the cluster: its addresses are released, and the other nodes send it no more
    /// packets. It joins again when its daemon starts.
    ///
    /// # Errors
    /// It does not exist, it is this node, its daemon is running and `force` is not set, or the store fails. A removal that
    /// has failed is completed by repeating it.
    pub async fn remove_node(&self, name: &Name, force: bool) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        let own = node.name.clone();
        tokio::task::block_in_place(|| {
            node.stored.load_cluster(&own)?;
            node.withdraw(name, force)
        })?;
        node.sync_cluster().await?;
        self.emit(Action::Removed, ObjectKind::Node, name.as_str(), None);
        Ok(())
    }
}

impl<K: Kernel, D: reconcile::Datapath> Node<K, D> {
    /// Notes that another node has started or stopped.
    pub(super) fn note_seen(&mut self, name: &str) {
        if let Ok(name) = name.parse() {
            self.seen.ended.insert(name, Instant::now());
        }
    }

    pub(super) fn node_views(&self) -> Result<Vec<NodeView>, CommandError> {
        let store = self.stored.store().as_ref();
        let alive = store.list(objects::ALIVE)?.entries;
        let is_alive = |name: &Name| {
            let key = format!("{}{name}", objects::ALIVE);
            alive.iter().any(|entry| entry.key == key)
        };
        let views = objects::nodes(store)?.into_iter().map(|record| {
            let alive = record.name == self.name || is_alive(&record.name);
            self.node_view(record, alive)
        });
        Ok(views.collect())
    }

    fn node_view(&self, record: NodeRecord, alive: bool) -> NodeView {
        let networks = self.state().cluster().networks();
        let used = |entry: &&ClusterNetwork| entry.claims.nodes().contains(&record.name);
        let ended = self.seen.ended.get(&record.name);
        let ended = ended.unwrap_or(&self.seen.started).elapsed();
        NodeView {
            networks: networks
                .filter(used)
                .map(|entry| entry.network.name.clone())
                .collect(),
            state: match (record.removed, alive) {
                (true, _) => NodeState::Removed,
                (false, true) => NodeState::Ready,
                (false, false) => NodeState::Unreachable,
            },
            last_seen: if alive { Duration::ZERO } else { ended },
            name: record.name,
            addresses: record.addresses,
            version: record.version,
        }
    }

    fn withdraw(&self, name: &Name, force: bool) -> Result<(), CommandError> {
        let store = self.stored.store().as_ref();
        let refused = |reason| {
            let name = name.clone();
            Err(RequestError::NodeInUse { name, reason }.into())
        };
        let Some(record) = objects::node(store, name)? else {
            let nodes = objects::nodes(store)?;
            let names = nodes.iter().map(|node| &node.name);
            return Err(unknown("node", name.as_str(), names).into());
        };
        if *name == self.name {
            return refused("it is this node");
        }
        if !force && !record.removed && objects::is_alive(store, name)? {
            return refused("its daemon is running");
        }
        // First the mark: a node that returns claims nothing again.
        if !record.removed {
            objects::remove_node(store, &record)?;
        }
        for entry in self.state().cluster().networks() {
            let network = &entry.network.name;
            overlays::change_claims(store, network, |claims| -> Result<(), CommandError> {
                claims.release(name);
                Ok(())
            })?;
        }
        publication::withdraw(store, name)?;
        Ok(())
    }
}
