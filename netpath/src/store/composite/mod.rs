//! The store of a node of a cluster: shared keys are in a distributed store, all others in the file of the node.
//!
//! Shared keys are read from a cache in the file, which follows the distributed store. So a daemon starts, and serves
//! what it has seen last, while the distributed store is away. A write still compares the revision of its key in the
//! distributed store: a commit that was computed from outdated values is refused, and the cache is updated.
//!
//! The revision of a shared key is that of the distributed store. The revisions of commits, listings and events are
//! those of the file, which orders the changes of both.

mod cache;
mod sync;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    FileStore, Hold, Listing, Revision, SHARED, Store, StoreError, Versioned, Watch, Write,
    check_distinct,
};
use cache::Cache;
use sync::{Follower, Shared};

/// A store with a distributed and a local part.
pub struct CompositeStore {
    /// Declared first, so that it ends before the rest is dropped.
    _follower: Follower,
    shared: Arc<Shared>,
    /// Locked during a commit, so that local keys do not change between their check and their write.
    writer: Mutex<()>,
}

impl CompositeStore {
    /// Opens the store. `connect` returns the distributed store; its argument is the identity of the store that the
    /// node has used before.
    ///
    /// # Errors
    /// The file was used without a distributed store and has shared objects, or the distributed store refuses this node
    /// and was never used before. A distributed store that is away is no error.
    pub fn open(
        file: FileStore,
        connect: impl FnOnce(Option<String>) -> Result<Arc<dyn Store>, StoreError>,
    ) -> Result<Self, StoreError> {
        let file = Arc::new(file);
        cache::adopt(&file)?;
        let cache = Cache::open(file)?;
        let remote = connect(cache.identity())?;
        let shared = Arc::new(Shared::new(remote, cache));
        let watch = shared.remote.watch("");
        let synced = match shared.load() {
            Ok(()) => true,
            Err(error) if error.can_retry() || shared.cache.identity().is_some() => false,
            Err(error) => return Err(error),
        };
        Ok(Self {
            _follower: Follower::start(Arc::clone(&shared), watch, synced)?,
            shared,
            writer: Mutex::new(()),
        })
    }

    fn file(&self) -> &FileStore {
        &self.shared.cache.file
    }
}

impl Store for CompositeStore {
    fn kind(&self) -> &'static str {
        self.shared.remote.kind()
    }

    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        if key.starts_with(SHARED) {
            self.shared.cache.get(key)
        } else {
            self.file().get(key)
        }
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        if prefix.starts_with(SHARED) {
            return self.shared.cache.list(prefix);
        }
        let mut listing = self.file().list(prefix)?;
        if SHARED.starts_with(prefix) {
            // One listing of the file, so that both parts are as of one commit.
            let all = self.file().list("")?;
            listing.revision = all.revision;
            let entries = all.entries.into_iter().filter_map(cache::shown);
            listing.entries = entries
                .filter(|entry| entry.key.starts_with(prefix))
                .collect();
            listing
                .entries
                .sort_unstable_by(|one, other| one.key.cmp(&other.key));
        }
        Ok(listing)
    }

    /// Executes the shared writes first. A crash after them leaves local keys unchanged: the objects of this node that
    /// are only in the shared part are removed or claimed again by the next comparison with the local ones.
    fn commit(&self, writes: &[Write]) -> Result<Revision, StoreError> {
        check_distinct(writes)?;
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (shared, local): (Vec<_>, Vec<_>) = writes
            .iter()
            .cloned()
            .partition(|write| write.key.starts_with(SHARED));
        if shared.is_empty() {
            return self.file().commit(&local);
        }
        for write in &local {
            write.check(self.file().get(&write.key)?.map(|found| found.revision))?;
        }
        let revision = self.shared.commit(&shared)?;
        self.shared.cache.commit(local, &shared, revision)
    }

    fn write_failure(&self) -> Option<String> {
        self.file().write_failure()
    }

    fn limit(&self) -> usize {
        self.shared.remote.limit()
    }

    fn unreachable(&self) -> Option<String> {
        self.shared.problem()
    }

    fn identity(&self) -> Option<String> {
        self.shared.cache.identity()
    }

    fn hold(&self, key: &str, value: &[u8], ttl: Duration) -> Result<Hold, StoreError> {
        self.shared.remote.hold(key, value, ttl)
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.file().watch("").translated(prefix, cache::shown_event)
    }
}

#[cfg(test)]
mod tests;
