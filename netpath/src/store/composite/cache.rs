//! The shared keys as they were seen last, in the file of the node.
//!
//! The key `K` of the distributed store is `cache/K` in the file; its value starts with its revision, in eight bytes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::store::{
    COPIES, Event, Expected, FileStore, HELD, Listing, Revision, SHARED, Store, StoreError,
    Versioned, Write,
};

/// Key of the identity of the distributed store, in the file. Written with the first complete copy.
const IDENTITY: &str = "cache/identity";
/// Prefix of the records that every daemon writes again.
const NODES: &str = "shared/nodes/";
/// Number of deletions that are remembered.
const REMEMBERED: usize = 10_000;

/// The cache.
pub struct Cache {
    pub file: Arc<FileStore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    identity: Option<String>,
    /// Latest revision of the distributed store that was seen.
    latest: Revision,
    /// Revisions at which keys were deleted. An earlier event of the key that arrives later is ignored.
    deleted: BTreeMap<String, Revision>,
}

/// Refuses a file with shared keys, except records of nodes, which are removed: they were written without a distributed
/// store.
pub fn adopt(file: &FileStore) -> Result<(), StoreError> {
    let entries = file.list(SHARED)?.entries;
    if let Some(entry) = entries.iter().find(|entry| !entry.key.starts_with(NODES)) {
        return Err(StoreError::OtherKind {
            key: entry.key.clone(),
        });
    }
    let removals: Vec<_> = entries
        .into_iter()
        .map(|entry| removal(entry.key))
        .collect();
    file.commit(&removals)?;
    Ok(())
}

impl Cache {
    pub fn open(file: Arc<FileStore>) -> Result<Self, StoreError> {
        let identity = file.get(IDENTITY)?;
        let identity = identity.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        let entries = file.list(COPIES)?.entries.into_iter().filter_map(shown);
        let latest = entries.map(|entry| entry.revision).max();
        Ok(Self {
            file,
            state: Mutex::new(State {
                identity,
                latest: latest.unwrap_or_default(),
                deleted: BTreeMap::new(),
            }),
        })
    }

    /// Identity of the distributed store; `None` if it was never copied.
    pub fn identity(&self) -> Option<String> {
        self.state().identity.clone()
    }

    pub fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.file.get(&cached(key))?.and_then(shown))
    }

    pub fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let found = self.file.list(&cached(prefix))?;
        Ok(Listing {
            revision: found.revision,
            entries: found.entries.into_iter().filter_map(shown).collect(),
        })
    }

    /// Applies later values than the present ones.
    pub fn apply(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let mut state = self.state();
        let mut last = BTreeMap::new();
        for event in events {
            last.insert(event.key.clone(), event);
        }
        let mut writes = Vec::new();
        for event in last.into_values() {
            let present = self.get(&event.key)?.map(|entry| entry.revision);
            let known = present.max(state.deleted.get(&event.key).copied());
            state.latest = state.latest.max(event.revision);
            if known.is_some_and(|known| known >= event.revision) {
                continue;
            }
            state.deleted.remove(&event.key);
            writes.push(write(event.key, event.value.as_deref(), event.revision));
        }
        self.file.commit(&writes)?;
        Ok(())
    }

    /// Makes the cache equal to a listing of the distributed store. Keys that were written after the listing stay; if
    /// the revisions of the store have gone back, nothing stays. `exists` tells whether a held key exists at present.
    pub fn replace(
        &self,
        listing: &Listing,
        identity: Option<String>,
        exists: impl Fn(&str) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let went_back = listing.revision < state.latest;
        if went_back {
            state.deleted.clear();
        }
        let mut present: BTreeMap<_, _> = self
            .list(SHARED)?
            .entries
            .into_iter()
            .map(|entry| (entry.key.clone(), entry))
            .collect();
        let mut writes = Vec::new();
        for entry in &listing.entries {
            let before = present.remove(&entry.key);
            let known = before.as_ref().map(|entry| entry.revision);
            let known = known.max(state.deleted.get(&entry.key).copied());
            let differs = before.as_ref() != Some(entry);
            if differs && (went_back || known.is_none_or(|known| known < entry.revision)) {
                writes.push(write(entry.key.clone(), Some(&entry.value), entry.revision));
            }
        }
        for (key, entry) in present {
            let later = entry.revision > listing.revision && !went_back;
            // The distributed store itself removes held keys, without a commit.
            if !later || (key.starts_with(HELD) && !exists(&key)?) {
                writes.push(removal(cached(&key)));
            }
        }
        if let Some(identity) = identity.filter(|_| state.identity.is_none()) {
            writes.push(Write {
                key: IDENTITY.to_owned(),
                value: Some(identity.clone().into_bytes()),
                expected: Expected::Anything,
            });
            state.identity = Some(identity);
        }
        state.latest = match went_back {
            true => listing.revision,
            false => state.latest.max(listing.revision),
        };
        state
            .deleted
            .retain(|_, revision| *revision > listing.revision);
        self.file.commit(&writes)?;
        Ok(())
    }

    /// Writes local keys, and shared keys that were committed with this revision. Returns the revision of the file.
    pub fn commit(
        &self,
        local: Vec<Write>,
        shared: &[Write],
        revision: Revision,
    ) -> Result<Revision, StoreError> {
        let mut state = self.state();
        state.latest = state.latest.max(revision);
        let mut writes = local;
        for change in shared {
            let present = self.get(&change.key)?.map(|entry| entry.revision);
            if present.is_some_and(|present| present >= revision) {
                continue;
            }
            if change.value.is_none() {
                if state.deleted.len() >= REMEMBERED {
                    state.deleted.clear();
                }
                state.deleted.insert(change.key.clone(), revision);
            }
            writes.push(write(change.key.clone(), change.value.as_deref(), revision));
        }
        self.file.commit(&writes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of the file as the composite store shows it; `None` for entries that it does not show.
pub fn shown(entry: Versioned) -> Option<Versioned> {
    let Some(key) = entry.key.strip_prefix(COPIES) else {
        return Some(entry).filter(|entry| !entry.key.starts_with(SHARED));
    };
    let (revision, value) = split(&entry.value).filter(|_| key.starts_with(SHARED))?;
    Some(Versioned {
        key: key.to_owned(),
        value: value.to_owned(),
        revision,
    })
}

/// An event of the file as the composite store shows it.
pub fn shown_event(event: Event) -> Option<Event> {
    let Some(key) = event.key.strip_prefix(COPIES) else {
        return Some(event).filter(|event| !event.key.starts_with(SHARED));
    };
    if !key.starts_with(SHARED) {
        return None;
    }
    let value = match &event.value {
        None => None,
        Some(value) => Some(split(value)?.1.to_owned()),
    };
    Some(Event {
        key: key.to_owned(),
        value,
        revision: event.revision,
    })
}

fn cached(key: &str) -> String {
    format!("{COPIES}{key}")
}

fn split(value: &[u8]) -> Option<(Revision, &[u8])> {
    let (revision, value) = value.split_first_chunk()?;
    Some((Revision::from_be_bytes(*revision), value))
}

fn write(key: String, value: Option<&[u8]>, revision: Revision) -> Write {
    let with_revision = |value: &[u8]| [&revision.to_be_bytes()[..], value].concat();
    Write {
        key: cached(&key),
        value: value.map(with_revision),
        expected: Expected::Anything,
    }
}

fn removal(key: String) -> Write {
    Write {
        key,
        value: None,
        expected: Expected::Anything,
    }
}
