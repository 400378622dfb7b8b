//! A store in Consul's keys, through its HTTP API.
//!
//! The key `netpath/schema` contains the schema and a random identity of the store, `netpath/changes` the keys of the
//! last changes. Every transaction compares the first and writes the second, so a watch reads only changed keys, and a
//! newer version can exclude older ones. The key `K` of the store is `netpath/1/K`.

mod commit;
mod hold;
mod link;
mod watch;
mod wire;

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use serde_json::json;

use super::{
    HELD, Hold, Listing, RemoteError, RemoteSettings, Revision, Store, StoreError, Versioned,
    Watch, Write, check_distinct, check_held, check_limit, hold::Lease as _, remote::Worker,
};
use link::{Link, lock};
use wire::{CHANGES_KEY, KeyValue};

/// Largest number of writes: Consul accepts 64 operations, of which two are those of the schema and the last changes.
const LIMIT: usize = 62;

/// A store in Consul.
#[derive(Debug)]
pub struct ConsulStore {
    /// Declared first, so that its tasks end before the rest is dropped.
    worker: Worker,
    link: Arc<Link>,
    /// Starts the watches on the server when the first [`Watch`] is created.
    watching: Once,
}

impl ConsulStore {
    /// A store with these servers. Connects when it is used. If `identity` is given, another store is refused.
    ///
    /// # Errors
    /// A file that the settings name is not valid.
    pub fn new(settings: &RemoteSettings, identity: Option<String>) -> Result<Self, StoreError> {
        Ok(Self {
            worker: Worker::start("consul")?,
            link: Arc::new(Link::new(settings, identity)?),
            watching: Once::new(),
        })
    }

    fn run<T, E, F>(&self, call: impl FnOnce(Arc<Link>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        E: Into<StoreError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let result = self.worker.run(call(Arc::clone(&self.link)));
        let result = result
            .map_err(StoreError::from)
            .and_then(|result| result.map_err(Into::into));
        let remote = match &result {
            Err(StoreError::Remote(error)) => Err(error.clone()),
            _ => Ok(()),
        };
        // Returned below.
        let _ = self.link.client.note(remote);
        result
    }
}

impl Store for ConsulStore {
    fn kind(&self) -> &'static str {
        "consul"
    }

    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let key = wire::full(key);
        let found = self.run(|link| async move {
            link.schema().await?;
            link.read(&key).await
        })?;
        Ok(found.and_then(versioned))
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let full = wire::full(prefix);
        let (revision, found) = self.run(|link| async move { list(&link, &full).await })?;
        let mut entries: Vec<_> = found.into_iter().filter_map(versioned).collect();
        entries.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        let held = entries.iter().filter(|entry| entry.key.starts_with(HELD));
        lock(&self.link.listed).extend(held.map(|entry| entry.key.clone()));
        // Consul itself changes held keys, without a commit.
        let latest = entries.iter().map(|entry| entry.revision).max();
        Ok(Listing {
            revision: revision.max(latest.unwrap_or_default()),
            entries,
        })
    }

    fn commit(&self, writes: &[Write]) -> Result<Revision, StoreError> {
        check_distinct(writes)?;
        check_limit(writes, LIMIT)?;
        let writes = writes.to_vec();
        self.run(|link| async move { commit::commit(&link, &writes).await })
    }

    fn limit(&self) -> usize {
        LIMIT
    }

    fn hold(&self, key: &str, value: &[u8], ttl: Duration) -> Result<Hold, StoreError> {
        check_held(key)?;
        let task = hold::Task::new(Arc::clone(&self.link), key, value, ttl);
        let (task, held) = self.run(|_| task.acquire())?;
        task.start(&self.worker, key, held)
    }

    fn write_failure(&self) -> Option<String> {
        self.unreachable()
    }

    fn unreachable(&self) -> Option<String> {
        self.link.client.problem().map(|error| error.to_string())
    }

    fn identity(&self) -> Option<String> {
        self.link.expected()
    }

    fn watch(&self, prefix: &str) -> Watch {
        let position = self.link.position();
        let after = position.as_ref().map_or(0, |position| position.index);
        let watch = self.link.hub.watch_after(prefix, after);
        self.watching.call_once(|| {
            self.worker
                .spawn(watch::run(Arc::clone(&self.link), position));
            self.worker
                .spawn(watch::run_held(Arc::clone(&self.link), after));
        });
        watch
    }
}

/// The keys with a full prefix, and the index of the last changes, as of one index.
async fn list(link: &Link, prefix: &str) -> Result<(Revision, Vec<KeyValue>), RemoteError> {
    const CALL: &str = "list keys";
    let operations = [
        link.schema_check().await?,
        wire::operation("get", CHANGES_KEY, json!({})),
        wire::operation("get-tree", prefix, json!({})),
    ];
    let done = link.transaction(CALL, &operations, true).await?;
    if !done.errors.is_empty() {
        return Err(link.replaced(CALL));
    }
    // The check returns the schema key too.
    let (netpath, keys): (Vec<_>, Vec<_>) = done
        .keys()
        .partition(|found| wire::short(&found.key).is_none());
    let changes = netpath.iter().find(|found| found.key == CHANGES_KEY);
    let position = link.parsed(CALL, changes.ok_or_else(|| link.replaced(CALL))?)?;
    link.note(&position);
    Ok((position.index, keys))
}

fn versioned(found: KeyValue) -> Option<Versioned> {
    Some(Versioned {
        key: wire::short(&found.key)?.to_owned(),
        value: found.value,
        revision: found.modify_index,
    })
}
