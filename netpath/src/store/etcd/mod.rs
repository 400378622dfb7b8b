//! A store in etcd, through its JSON gateway.
//!
//! The key `netpath/schema` contains the schema and a random identity of the store; every transaction compares it, so a
//! newer version can exclude older ones. The key `K` of the store is `netpath/1/K`.

mod hold;
mod link;
mod watch;
mod wire;

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Expected, Hold, Listing, RemoteError, RemoteSettings, Revision, Store, StoreError, Versioned,
    Watch, Write, check_distinct, check_held, check_limit, hold::Lease as _, remote::Worker,
};
use link::Link;
use wire::{Range, Transaction};

/// Largest number of writes: etcd accepts 128 comparisons, of which one is that of the schema.
const LIMIT: usize = 127;

/// A store in etcd.
#[derive(Debug)]
pub struct EtcdStore {
    /// Declared first, so that its tasks end before the rest is dropped.
    worker: Worker,
    link: Arc<Link>,
    /// Starts the watch on the server when the first [`Watch`] is created.
    watching: Once,
}

impl EtcdStore {
    /// A store with these servers. Connects when it is used. If `identity` is given, another store is refused.
    ///
    /// # Errors
    /// A file that the settings name is not valid.
    pub fn new(settings: &RemoteSettings, identity: Option<String>) -> Result<Self, StoreError> {
        Ok(Self {
            worker: Worker::start("etcd")?,
            link: Arc::new(Link::new(settings, identity)?),
            watching: Once::new(),
        })
    }

    fn run<T, F>(&self, call: impl FnOnce(Arc<Link>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RemoteError>> + Send + 'static,
    {
        let result = self.worker.run(call(Arc::clone(&self.link)));
        Ok(self.link.client.note(result.and_then(|result| result))?)
    }
}

impl Store for EtcdStore {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let range = json!({ "key": wire::encoded(&wire::full(key)) });
        let found = self.run(|link| async move { link.range(&range).await })?;
        Ok(listing(found).entries.pop())
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let range = wire::with_prefix(&wire::full(prefix));
        let found = self.run(|link| async move { link.range(&range).await })?;
        Ok(listing(found))
    }

    fn commit(&self, writes: &[Write]) -> Result<Revision, StoreError> {
        check_distinct(writes)?;
        check_limit(writes, LIMIT)?;
        let writes = writes.to_vec();
        let sent = writes.clone();
        let done = self.run(|link| async move { transact(&link, &sent).await })?;
        if done.succeeded {
            return Ok(done.header.revision);
        }
        for (write, found) in writes.iter().zip(done.ranges()) {
            write.check(found.first().map(|entry| entry.mod_revision))?;
        }
        // Only the schema differs.
        Err(StoreError::Remote(self.link.replaced("commit a change")))
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
        let known = self.link.known();
        let watch = self.link.hub.watch_after(prefix, known);
        self.watching.call_once(|| {
            let link = Arc::clone(&self.link);
            self.worker.spawn(watch::run(link, known));
        });
        watch
    }
}

/// Sends the writes, and reads their keys if a comparison fails.
async fn transact(link: &Link, writes: &[Write]) -> Result<Transaction, RemoteError> {
    let identity = link.identity().await?;
    let mut compare = vec![link::schema(&identity)];
    compare.extend(writes.iter().filter_map(comparison));
    let success: Vec<Value> = writes.iter().map(operation).collect();
    let failure: Vec<Value> = writes.iter().map(|write| wire::read(&write.key)).collect();
    let body = json!({ "compare": compare, "success": success, "failure": failure });
    link.transaction("commit a change", &body, false).await
}

fn comparison(write: &Write) -> Option<Value> {
    let revision = match write.expected {
        Expected::Anything => return None,
        Expected::Nothing => 0,
        Expected::Revision(revision) => revision,
    };
    Some(json!({
        "key": wire::encoded(&wire::full(&write.key)),
        "target": "MOD",
        "mod_revision": revision.to_string(),
    }))
}

fn operation(write: &Write) -> Value {
    let key = wire::encoded(&wire::full(&write.key));
    match &write.value {
        Some(value) => {
            json!({ "request_put": { "key": key, "value": wire::encoded_value(value) } })
        }
        None => json!({ "request_delete_range": { "key": key } }),
    }
}

fn listing(range: Range) -> Listing {
    let entries = range.kvs.into_iter().filter_map(|entry| {
        Some(Versioned {
            key: link::short(&entry.key)?.to_owned(),
            value: entry.value,
            revision: entry.mod_revision,
        })
    });
    Listing {
        entries: entries.collect(),
        revision: range.header.revision,
    }
}
