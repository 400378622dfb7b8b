//! The membership of this node in its cluster: its identity, its claims, and the changes of other nodes.

use std::{sync::Arc, time::Duration};

use super::{CommandError, Commands, Node};
use crate::{
    model::{Layout, Name},
    plan::Desired,
    reconcile::{self, Kernel},
    store::{
        Hold,
        objects::{self, ALIVE, NODES, overlays},
    },
};

/// Topics of degraded states.
const MEMBERSHIP: &str = "membership";
const CLAIMS: &str = "claims";

/// Whether this node may claim addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Membership {
    /// It may.
    #[default]
    Member,
    /// An operator has removed it from the cluster while it was running.
    Removed,
    /// Another node has its name.
    NameTaken,
}

/// Time after its last renewal at which the key of a running node expires.
const ALIVE_TTL: Duration = Duration::from_secs(15);

impl<K: Kernel, D: reconcile::Datapath> Commands<K, D> {
    /// Writes the key that shows that this node is running, as long as the result is held.
    ///
    /// # Errors
    /// Another node has the key, or the store cannot be written.
    pub async fn hold_name(&self) -> Result<Hold, CommandError> {
        let (store, key, id) = {
            let node = self.shared.node.lock().await;
            let key = format!("{ALIVE}{}", node.name);
            (Arc::clone(node.stored.store()), key, node.id.to_string())
        };
        let held = tokio::task::block_in_place(|| store.hold(&key, id.as_bytes(), ALIVE_TTL));
        Ok(held?)
    }

    /// Applies a change of the shared objects by another node. `key` is the changed key; `None` if several may have changed.
    ///
    /// # Errors
    /// If the store cannot be read, its objects are invalid, or an operation fails.
    pub async fn follow_cluster(&self, key: Option<&str>) -> Result<(), CommandError> {
        if key.is_none() {
            self.check_published().await;
        }
        let mut node = self.shared.node.lock().await;
        if node.torn_down {
            return Ok(());
        }
        if let Some(name) = key.and_then(|key| key.strip_prefix(ALIVE)) {
            node.note_seen(name);
        }
        let prefixes = [NODES, overlays::NETWORKS, overlays::BLOCKS];
        let concerns = |key: &str| prefixes.iter().any(|prefix| key.starts_with(prefix));
        if key.is_none_or(concerns) {
            let before = node.facts.facts.underlay;
            node.sync_cluster().await?;
            node.update_underlay();
            if before != node.facts.facts.underlay {
                self.wake().reconcile.notify_one();
            }
        }
        Ok(())
    }
}

impl<K: Kernel, D: reconcile::Datapath> Node<K, D> {
    /// Refuses the start of a second node with the name of this one, and joins the cluster again after a removal. If the
    /// store cannot be read, that is repeated later.
    ///
    /// # Errors
    /// Another node has the name, or a stored object is invalid.
    pub async fn join_cluster(&mut self) -> Result<(), CommandError> {
        let joined = tokio::task::block_in_place(|| {
            self.check_identity()?;
            if self.stored.is_removed(&self.name)? {
                self.stored.give_up_claims()?;
                self.rejoins = true;
            }
            Ok(())
        });
        match joined {
            Err(error @ CommandError::NodeNameTaken { .. }) => return Err(error),
            Err(error) if error.store_failure().is_none() => return Err(error),
            Err(error) => {
                self.unsynced = true;
                tracing::warn!(%error, "cannot read the other nodes yet");
                return Ok(());
            }
            Ok(()) => {}
        }
        self.store_record();
        self.sync_cluster().await?;
        Ok(())
    }

    /// Refuses a name that another node has.
    fn check_identity(&self) -> Result<(), CommandError> {
        let store = self.stored.store().as_ref();
        let Some(record) = objects::node(store, &self.name)? else {
            return Ok(());
        };
        let other = record.id.filter(|id| *id != self.id && !record.removed);
        if other.is_none() {
            return Ok(());
        }
        Err(CommandError::NodeNameTaken {
            name: self.name.clone(),
            alive: objects::is_alive(store, &self.name)?,
        })
    }

    /// Refuses a request that needs a claim if this node is no member of the cluster.
    pub(super) fn check_membership(&self) -> Result<(), CommandError> {
        match self.membership {
            Membership::Member => Ok(()),
            Membership::Removed | Membership::NameTaken => Err(CommandError::NotMember {
                name: self.name.clone(),
            }),
        }
    }

    /// Loads what this node knows of its cluster, makes its claims in the store equal to those that it has recorded, and
    /// applies the difference.
    ///
    /// # Errors
    /// If the store cannot be read, its objects are invalid, or an operation fails.
    pub(super) async fn sync_cluster(&mut self) -> Result<(), CommandError> {
        let synced = tokio::task::block_in_place(|| self.sync_store());
        match &synced {
            Ok(()) => drop(self.degraded.remove("cluster")),
            Err(error) => {
                let text = format!("changes of other nodes are not applied: {error}");
                self.degraded.insert("cluster", text);
            }
        }
        self.unsynced = synced.is_err();
        self.apply_cluster().await?;
        synced
    }

    /// Applies what this node knows of other nodes to the maps.
    ///
    /// # Errors
    /// If an operation fails; the next reconcile repeats it.
    pub(super) async fn apply_cluster(&mut self) -> Result<(), CommandError> {
        let after = Desired::of_cluster(self.state(), &self.facts.facts);
        if after != self.applied {
            self.reconciler.apply(&self.applied, &after).await?;
            self.applied = after;
        }
        Ok(())
    }

    fn sync_store(&mut self) -> Result<(), CommandError> {
        let name = self.name.clone();
        self.stored.load_cluster(&name)?;
        self.update_membership()?;
        if self.membership != Membership::Member {
            return Ok(());
        }
        let mut problems = Vec::new();
        for network in self.networks_to_sync() {
            self.sync_network(&network, &mut problems)?;
        }
        if problems.is_empty() {
            self.degraded.remove(CLAIMS);
        } else {
            let text = problems.join("; ");
            if self.degraded.get(CLAIMS) != Some(&text) {
                tracing::error!("{text}");
            }
            self.degraded.insert(CLAIMS, text);
        }
        Ok(())
    }

    /// Networks in which this node has claims, according to its own record or to the store, and those that it uses.
    fn networks_to_sync(&self) -> Vec<Name> {
        let state = self.state();
        let recorded = state.own_claims().keys();
        let used = state.networks();
        let used = used.filter(|network| network.overlay.is_some());
        let known = state.cluster().networks();
        let known = known.filter(|entry| entry.claims.nodes().contains(&self.name));
        let mut names: Vec<Name> = recorded
            .chain(used.map(|network| &network.name))
            .chain(known.map(|entry| &entry.network.name))
            .cloned()
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn sync_network(
        &mut self,
        network: &Name,
        problems: &mut Vec<String>,
    ) -> Result<(), CommandError> {
        let name = self.name.clone();
        let used = self.state().network(network).ok().cloned();
        let used = used.filter(|used| used.overlay.is_some());
        let stored = self.state().cluster().network(network);
        let is_same = used
            .as_ref()
            .is_none_or(|used| stored.is_some_and(|stored| stored.network.id == used.id));
        if let Some(used) = used.as_ref().filter(|_| !is_same)
            && !self.stored.restore_overlay(&name, used)?
        {
            problems.push(format!(
                "network '{network}' is no longer in the store, and another network has its name, its VNI or its subnet; \
                 remove its sandboxes"
            ));
            return Ok(());
        }
        for lost in self.stored.assert_claims(&name, network)? {
            let prefixes: Vec<_> = lost.prefixes.iter().map(ToString::to_string).collect();
            tracing::error!(
                %network, node = %lost.node,
                "another node has claimed {} before this node", prefixes.join(", ")
            );
        }
        problems.extend(self.disputes(network));
        for ip in self.state().unclaimed_addresses(network) {
            match self.stored.keep_address(&name, network, ip, None) {
                Ok(()) => {}
                Err(CommandError::Request(error)) => {
                    problems.push(format!(
                        "{error}; remove the sandbox that has it, and create it again"
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Blocks of this node that other nodes have too.
    fn disputes(&self, network: &Name) -> Vec<String> {
        let own = self.state().own_claims().get(network);
        let entry = self.state().cluster().network(network);
        let (Some(own), Some(entry)) = (own, entry) else {
            return Vec::new();
        };
        let layout = Layout::of(&entry.network.subnets);
        let disputed = own.disputed.iter().filter_map(|index| {
            let node = &entry.claims.blocks.get(index)?.node;
            let prefixes: Vec<_> = layout.get(*index).map(|it| it.to_string()).collect();
            Some(format!(
                "node '{node}' also has addresses {} of network '{network}' in the store; this node waits until that node \
                 confirms or releases them; if it no longer exists, use 'netpath node rm {node}'",
                prefixes.join(", ")
            ))
        });
        disputed.collect()
    }

    /// Reads from the store whether this node is a member of the cluster.
    fn update_membership(&mut self) -> Result<(), CommandError> {
        let record = objects::node(self.stored.store().as_ref(), &self.name)?;
        let before = self.membership;
        self.membership = match &record {
            Some(record) if record.removed && !self.rejoins => Membership::Removed,
            Some(record) if !record.removed && record.id.is_some_and(|id| id != self.id) => {
                Membership::NameTaken
            }
            Some(_) | None => Membership::Member,
        };
        let text = match self.membership {
            Membership::Member => None,
            Membership::Removed => Some(format!(
                "node '{}' was removed from the cluster; restart its daemon to join it again",
                self.name
            )),
            Membership::NameTaken => Some(format!(
                "another node has the name '{}'; restart one of them with another --node",
                self.name
            )),
        };
        match text {
            None => {
                self.degraded.remove(MEMBERSHIP);
                if record.is_none() || self.rejoins {
                    // The store was restored from a snapshot, or this node joins again.
                    self.record = None;
                    self.store_record();
                }
            }
            Some(text) => {
                if before == Membership::Member {
                    tracing::error!("{text}");
                    self.stored.give_up_claims()?;
                }
                self.degraded.insert(MEMBERSHIP, text);
            }
        }
        Ok(())
    }
}
