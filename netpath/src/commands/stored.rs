//! The state, and the store from which it is loaded. Other writers may change the store at any time.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;

use super::CommandError;
use crate::{
    model::{Change, Id, State},
    store::{
        Revision, Store,
        objects::{self, records::NodeRecord},
    },
};

/// The state as of one revision of the store.
pub struct Stored {
    store: Arc<dyn Store>,
    state: State,
    revision: Revision,
    /// Later commits of this node, which the state includes, until their events arrive.
    own: BTreeSet<Revision>,
    /// Prefixes of the deny list that the settings file names; not in the store.
    denied: Arc<BTreeSet<IpNet>>,
}

impl Stored {
    /// Loads the state.
    ///
    /// # Errors
    /// If the store cannot be read, or its objects are invalid.
    pub fn load(store: Arc<dyn Store>) -> Result<Self, CommandError> {
        let (state, revision) = objects::load_state(store.as_ref())?;
        Ok(Self {
            store,
            state,
            revision,
            own: BTreeSet::new(),
            denied: Arc::default(),
        })
    }

    /// The same state with these prefixes of the settings file in the deny list.
    #[must_use]
    pub fn with_denied(mut self, prefixes: Arc<BTreeSet<IpNet>>) -> Self {
        self.state = self.state.with_configured_denials(Arc::clone(&prefixes));
        self.denied = prefixes;
        self
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Latest commit that the state includes; 0 if nothing was ever stored.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Stores a change and applies it to the state.
    ///
    /// # Errors
    /// Another writer has changed an object of the change, or the store cannot be written; the state is unchanged then.
    pub fn record(&mut self, change: &Change) -> Result<(), CommandError> {
        let revision = objects::commit(self.store.as_ref(), &self.state, change)?;
        self.state.apply(change)?;
        self.mark_own(revision);
        Ok(())
    }

    /// Records a commit of this node, so that `follow` does not load it.
    pub(super) fn mark_own(&mut self, revision: Revision) {
        if revision > self.revision {
            self.own.insert(revision);
        }
        while self.own.remove(&(self.revision + 1)) {
            self.revision += 1;
        }
    }

    /// The state, to change what is not part of a [`Change`].
    pub(super) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The random number of this node's state directory: `new` from the first start on.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn node_id(&mut self, new: Id) -> Result<Id, CommandError> {
        let (id, revision) = objects::node_id(self.store.as_ref(), new)?;
        if let Some(revision) = revision {
            self.mark_own(revision);
        }
        Ok(id)
    }

    /// Stores the record of this node if it differs from the stored one.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn store_node(&mut self, node: &NodeRecord) -> Result<(), CommandError> {
        if let Some(revision) = objects::store_node(self.store.as_ref(), node)? {
            self.mark_own(revision);
        }
        Ok(())
    }

    /// Loads the objects of this node if they may not include commit `revision` or an earlier one. Commits are followed in
    /// their order. Returns whether the objects were loaded. `Revision::MAX` is later than every commit.
    ///
    /// # Errors
    /// If the store cannot be read, or its objects are invalid; the state is unchanged then.
    pub fn follow(&mut self, revision: Revision) -> Result<bool, CommandError> {
        if self.own.contains(&revision) {
            self.revision = revision;
            self.own.retain(|own| *own > revision);
        }
        if revision <= self.revision {
            return Ok(false);
        }
        let (state, loaded) = objects::load_state(self.store.as_ref())?;
        if loaded == self.revision {
            return Ok(false);
        }
        let mut state = state.with_configured_denials(Arc::clone(&self.denied));
        state.set_cluster(self.state.cluster().clone());
        self.state = state;
        self.revision = loaded;
        self.own.clear();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            Name,
            request::{BuiltIn, Env},
        },
        store::{MemoryStore, objects::ObjectError},
    };

    fn writers() -> (Stored, Stored) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let other = Arc::clone(&store);
        (Stored::load(store).unwrap(), Stored::load(other).unwrap())
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// A new network without addresses.
    fn creation(stored: &Stored, id: u64) -> Change {
        let mut random = id;
        let mut env = Env {
            random: &mut || {
                random += 1 << 8;
                random
            },
            connected: &[],
            routed: &[],
            pools: &["172.20.0.0/16/24".parse().unwrap()],
            listening: &|_, _, _, _| None,
            free_ports: (40_000, 50_000),
            tunnel_port: 4789,
            host_netns: std::path::Path::new("/proc/1/ns/net"),
            interfaces: &[],
        };
        stored
            .state()
            .missing_built_in(BuiltIn::All, &mut env)
            .unwrap()
            .unwrap()
    }

    #[tokio::test]
    async fn change_of_another_writer_is_followed() {
        let (mut one, mut two) = writers();
        let mut watch = two.store().watch("");
        let change = creation(&one, Id::from_random(0).device());
        one.record(&change).unwrap();
        let event = watch.next().await.unwrap();
        assert!(two.state().network(&name("bridge")).is_err());
        assert!(two.follow(event.revision).unwrap());
        assert!(two.state().network(&name("bridge")).is_ok());
        assert!(!two.follow(event.revision).unwrap(), "already loaded");
    }

    #[test]
    fn own_change_is_not_loaded_again() {
        let (mut one, _) = writers();
        let change = creation(&one, 1);
        one.record(&change).unwrap();
        let revision = one.store().list("").unwrap().revision;
        for revision in [revision, Revision::MAX] {
            assert!(!one.follow(revision).unwrap());
        }
    }

    #[test]
    fn change_that_another_writer_made_impossible_is_refused() {
        let (mut one, mut two) = writers();
        one.record(&creation(&one, 1)).unwrap();
        let conflicting = creation(&two, 1 << 20);
        let error = two.record(&conflicting).unwrap_err();
        assert!(
            matches!(error, CommandError::Object(ObjectError::Changed { .. })),
            "{error}"
        );
        assert!(two.follow(1).unwrap());
        assert!(two.state().network(&name("bridge")).is_ok());
    }

    #[test]
    fn commit_of_another_writer_before_an_own_one_is_not_skipped() {
        let (mut one, mut two) = writers();
        let first = creation(&one, 1);
        one.record(&first).unwrap();
        two.follow(1).unwrap();
        let host = creation(&one, 1 << 20);
        one.record(&host).unwrap();
        let removal = first.reversed();
        two.record(&removal).unwrap();
        assert!(two.state().network(&name("host")).is_err());
        assert!(two.follow(2).unwrap());
        assert!(!two.follow(3).unwrap());
        assert!(two.state().network(&name("host")).is_ok());
        assert!(two.state().network(&name("bridge")).is_err());
    }
}
