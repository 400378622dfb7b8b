//! Publication of the endpoints of this node to other nodes.

use std::{collections::BTreeMap, sync::Arc};

use super::{CommandError, Commands, Node};
use crate::{
    model::{Id, Name},
    reconcile::{self, Kernel},
    store::objects::{
        publication::{self, BATCH},
        records::PublishedEndpoint,
    },
};

/// The endpoints that this node has published, as far as it knows; `None` before it has read them.
pub(super) type Published = Option<BTreeMap<Id, PublishedEndpoint>>;

impl<K: Kernel, D: reconcile::Datapath> Commands<K, D> {
    /// Publishes endpoints that are not published yet, and withdraws others: a batch of them. Returns whether more remain.
    ///
    /// # Errors
    /// If the store cannot be read or written. The call is to be repeated.
    pub async fn publish_endpoints(&self) -> Result<bool, CommandError> {
        let mut published = self.shared.published.lock().await;
        let (store, name, wanted) = {
            let node = self.shared.node.lock().await;
            if node.torn_down || node.check_membership().is_err() {
                return Ok(false);
            }
            let store = Arc::clone(node.stored.store());
            (store, node.name.clone(), node.endpoints_to_publish())
        };
        tokio::task::block_in_place(|| {
            let present = match published.take() {
                Some(present) => present,
                None => publication::published(store.as_ref(), &name)?,
            };
            let (changes, more) = next_batch(&present, &wanted);
            if !changes.is_empty() {
                publication::publish(store.as_ref(), &changes)?;
            }
            *published = Some(applied(present, changes));
            Ok(more)
        })
    }

    /// Compares the published endpoints with the store again: another node, or the restoration of a snapshot, may have changed
    /// them.
    pub(super) async fn check_published(&self) {
        *self.shared.published.lock().await = None;
        self.wake().publish.notify_one();
    }
}

/// The first changes from the present to the wanted endpoints, and whether there are more.
fn next_batch(
    present: &BTreeMap<Id, PublishedEndpoint>,
    wanted: &BTreeMap<Id, PublishedEndpoint>,
) -> (BTreeMap<Id, Option<PublishedEndpoint>>, bool) {
    let obsolete = present.keys().filter(|id| !wanted.contains_key(*id));
    let obsolete = obsolete.map(|id| (*id, None));
    let changed = wanted.iter();
    let changed = changed.filter(|(id, endpoint)| present.get(*id) != Some(*endpoint));
    let changed = changed.map(|(id, endpoint)| (*id, Some(endpoint.clone())));
    let mut changes = obsolete.chain(changed);
    let batch = changes.by_ref().take(BATCH).collect();
    (batch, changes.next().is_some())
}

fn applied(
    mut present: BTreeMap<Id, PublishedEndpoint>,
    changes: BTreeMap<Id, Option<PublishedEndpoint>>,
) -> BTreeMap<Id, PublishedEndpoint> {
    for (id, endpoint) in changes {
        match endpoint {
            Some(endpoint) => drop(present.insert(id, endpoint)),
            None => drop(present.remove(&id)),
        }
    }
    present
}

impl<K: Kernel, D: reconcile::Datapath> Node<K, D> {
    fn endpoints_to_publish(&self) -> BTreeMap<Id, PublishedEndpoint> {
        let state = self.state();
        let endpoints = state.endpoints().filter(|(endpoint, _)| {
            let network = state.network(&endpoint.network);
            network.is_ok_and(|network| network.overlay.is_some())
        });
        let published = endpoints.map(|(endpoint, sandbox)| {
            let published = PublishedEndpoint::of(endpoint, sandbox, &self.name);
            (endpoint.id, published)
        });
        published.collect()
    }

    /// Names of the sandboxes of other nodes in an overlay network, as far as their nodes have published them.
    pub(super) fn remote_sandboxes(&self, network: &Name) -> Result<Vec<Name>, CommandError> {
        let store = self.stored.store().as_ref();
        let all = publication::all_published(store)?.into_values();
        let others = all.filter(|endpoint| endpoint.network == *network);
        let others = others.filter(|endpoint| endpoint.node != self.name);
        let mut names: Vec<Name> = others.filter_map(|endpoint| endpoint.sandbox).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(number: u64, sandbox: &str) -> (Id, PublishedEndpoint) {
        let id = Id::from_random(number << 8);
        let endpoint = crate::model::Endpoint {
            id,
            network: "web".parse().unwrap(),
            interface: "eth0".to_owned(),
            mac: id.mac(),
            addresses: Vec::new(),
            owner: crate::model::Owner::Netpath,
            rate: None,
            adopted: None,
            slot: 1,
            generation: 1,
        };
        let sandbox: Name = sandbox.parse().unwrap();
        let node = "here".parse().unwrap();
        (id, PublishedEndpoint::of(&endpoint, Some(&sandbox), &node))
    }

    #[test]
    fn batches_lead_to_the_wanted_endpoints() {
        let present: BTreeMap<_, _> = (0..50).map(|number| endpoint(number, "old")).collect();
        let wanted: BTreeMap<_, _> = (40..200).map(|number| endpoint(number, "new")).collect();
        let mut now = present;
        let mut batches = 0;
        loop {
            let (changes, more) = next_batch(&now, &wanted);
            assert!(changes.len() <= BATCH);
            now = applied(now, changes);
            batches += 1;
            if !more {
                break;
            }
        }
        assert_eq!((now, batches), (wanted, 4));
    }
}
