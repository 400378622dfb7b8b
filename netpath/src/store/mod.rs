//! The store: objects that survive restarts and crashes.
//!
//! A store maps keys to values. Every commit increases the revision and sets it on the keys that it writes. A write
//! states at which revision it expects the key, so that no writer overwrites a value that it has not read. A commit is
//! atomic, and durable when it returns.
//!
//! A commit to a distributed store has a limited number of writes ([`Store::limit`]). A larger change is split: the
//! last commit writes the key that makes the others visible.
//!
//! Calls block, a few seconds at most; the daemon makes them with `block_in_place`. [`Watch`] is asynchronous.

mod composite;
mod consul;
mod error;
mod etcd;
mod file;
mod hold;
mod memory;
pub mod objects;
mod remote;
mod watch;

use std::time::Duration;

/// Name of the file store's file in the state directory.
pub const STATE_FILE: &str = "state.redb";

/// Prefix of the keys that all nodes share.
pub const SHARED: &str = "shared/";
/// Prefix of the copies of shared keys in the file of a node.
const COPIES: &str = "cache/";
/// Prefix of the keys that [`Store::hold`] accepts.
pub const HELD: &str = "shared/alive/";

pub use composite::CompositeStore;
pub use consul::ConsulStore;
pub use error::StoreError;
pub use etcd::EtcdStore;
pub use file::FileStore;
pub use hold::{Hold, HoldState};
pub use memory::MemoryStore;
pub use remote::{RemoteError, RemoteProblem, RemoteSettings, Server};
pub use watch::{Event, Watch, WatchError};

/// Number of a commit; 0 means that nothing was ever committed. A distributed store also counts other writes than
/// those of netpath.
pub type Revision = u64;

/// A key with its value and revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Vec<u8>,
    /// Commit that wrote it.
    pub revision: Revision,
}

/// Every key with a prefix, as of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The latest commit at the time of the listing.
    pub revision: Revision,
    /// Entries, sorted by key.
    pub entries: Vec<Versioned>,
}

/// Revision of a key that a write expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No expectation: the key may exist or not.
    Anything,
    /// The key does not exist.
    Nothing,
    /// This commit wrote the key last.
    Revision(Revision),
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Key.
    pub key: String,
    /// New value; `None` deletes the key. Deleting a missing key changes nothing.
    pub value: Option<Vec<u8>>,
    /// Expected revision of the key.
    pub expected: Expected,
}

/// A store. Every implementation passes the tests of `tests/contract.rs`.
pub trait Store: Send + Sync {
    /// Name of the kind, as `netpath status` shows it.
    fn kind(&self) -> &'static str;

    /// One key; `None` if it does not exist.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// Every key that starts with `prefix`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// Executes all writes atomically; returns the revision of the commit, or the latest revision if nothing changes.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a key has an unexpected revision, [`StoreError::Twice`] if a key is written twice,
    /// [`StoreError::TooLarge`] if there are more writes than [`Self::limit`], or the store cannot be written. Nothing
    /// is changed in any of these cases, except after an error of a distributed store that
    /// [is uncertain](RemoteError::uncertain): the commit may have been executed.
    fn commit(&self, writes: &[Write]) -> Result<Revision, StoreError>;

    /// Why the store cannot be written: the error of the last write. `None` if that write or a new test write succeeds.
    fn write_failure(&self) -> Option<String>;

    /// Largest number of writes of one commit.
    fn limit(&self) -> usize {
        usize::MAX
    }

    /// Why a distributed store cannot be reached, as of the last call; `None` if it can. Does not block.
    fn unreachable(&self) -> Option<String> {
        None
    }

    /// Random text that distinguishes a distributed store from others; `None` if it is not known.
    fn identity(&self) -> Option<String> {
        None
    }

    /// Writes a key below [`HELD`] that exists only while this process renews it: a distributed store removes it about
    /// `ttl` after the last renewal. A key that has this value already is taken over.
    ///
    /// # Errors
    /// [`StoreError::Held`] if the key has another value, or the store cannot be written.
    fn hold(&self, key: &str, value: &[u8], ttl: Duration) -> Result<Hold, StoreError>;

    /// Every later change of keys that start with `prefix`, in order. A value may be skipped if a later commit has
    /// replaced it.
    ///
    /// To follow without a gap: watch, then list, then ignore events up to the revision of the listing.
    fn watch(&self, prefix: &str) -> Watch;

    /// Writes one key.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn put_if(&self, key: &str, value: &[u8], expected: Expected) -> Result<Revision, StoreError> {
        self.commit(&[Write {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            expected,
        }])
    }

    /// Deletes one key.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn delete_if(&self, key: &str, expected: Expected) -> Result<Revision, StoreError> {
        self.commit(&[Write {
            key: key.to_owned(),
            value: None,
            expected,
        }])
    }
}

impl Write {
    /// Compares the found with the expected revision.
    fn check(&self, found: Option<Revision>) -> Result<(), StoreError> {
        let fits = match self.expected {
            Expected::Anything => true,
            Expected::Nothing => found.is_none(),
            Expected::Revision(revision) => found == Some(revision),
        };
        if fits {
            return Ok(());
        }
        Err(StoreError::Conflict {
            key: self.key.clone(),
            expected: self.expected,
            found,
        })
    }
}

/// Refuses writes of which two have the same key.
fn check_distinct(writes: &[Write]) -> Result<(), StoreError> {
    let mut keys: Vec<_> = writes.iter().map(|write| &write.key).collect();
    keys.sort_unstable();
    let twice = keys.windows(2).find(|pair| pair.first() == pair.last());
    match twice.and_then(<[_]>::first) {
        None => Ok(()),
        Some(key) => Err(StoreError::Twice {
            key: (*key).clone(),
        }),
    }
}

/// Refuses more writes than the limit of a store.
fn check_limit(writes: &[Write], limit: usize) -> Result<(), StoreError> {
    if writes.len() <= limit {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        writes: writes.len(),
        limit,
    })
}

/// Refuses to hold a key that is not below [`HELD`].
fn check_held(key: &str) -> Result<(), StoreError> {
    if key.starts_with(HELD) {
        return Ok(());
    }
    Err(StoreError::NotHeld {
        key: key.to_owned(),
    })
}
