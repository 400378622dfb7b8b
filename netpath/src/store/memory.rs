//! A store in memory, for tests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Hold, Listing, Revision, Store, StoreError, Versioned, Watch, Write, check_distinct,
    hold::hold_alone, watch::Hub,
};

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
    hub: Hub,
}

#[derive(Debug, Default)]
struct Content {
    revision: Revision,
    entries: BTreeMap<String, Versioned>,
}

impl MemoryStore {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.content().entries.get(key).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let content = self.content();
        let entries = content.entries.range(prefix.to_owned()..);
        Ok(Listing {
            revision: content.revision,
            entries: entries
                .take_while(|(key, _)| key.starts_with(prefix))
                .map(|(_, entry)| entry.clone())
                .collect(),
        })
    }

    fn commit(&self, writes: &[Write]) -> Result<Revision, StoreError> {
        check_distinct(writes)?;
        let mut content = self.content();
        for write in writes {
            write.check(content.entries.get(&write.key).map(|entry| entry.revision))?;
        }
        let changes =
            |write: &&Write| write.value.is_some() || content.entries.contains_key(&write.key);
        let changes: Vec<&Write> = writes.iter().filter(changes).collect();
        if changes.is_empty() {
            return Ok(content.revision);
        }
        content.revision += 1;
        let revision = content.revision;
        for write in changes {
            match &write.value {
                None => drop(content.entries.remove(&write.key)),
                Some(value) => {
                    let entry = Versioned {
                        key: write.key.clone(),
                        value: value.clone(),
                        revision,
                    };
                    content.entries.insert(write.key.clone(), entry);
                }
            }
            self.hub.send(write, revision);
        }
        Ok(revision)
    }

    fn write_failure(&self) -> Option<String> {
        None
    }

    fn hold(&self, key: &str, value: &[u8], _: Duration) -> Result<Hold, StoreError> {
        hold_alone(self, key, value)
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.hub.watch(prefix)
    }
}
