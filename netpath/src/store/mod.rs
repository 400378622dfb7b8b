//! The store: objects that survive restarts and crashes.
//!
//! A store maps keys to values. Every commit increases the revision by one and sets it on the keys that it writes. A
//! write states at which revision it expects the key, so that no writer overwrites a value that it has not read. A
//! commit is atomic, and durable when it returns.
//!
//! Calls block; the daemon makes them with `block_in_place`. [`Watch`] is asynchronous.

#[cfg(test)]
mod contract;
mod error;
mod file;
mod memory;
pub mod objects;
mod watch;

/// Name of the file store's file in the state directory.
pub const STATE_FILE: &str = "state.redb";

pub use error::StoreError;
pub use file::FileStore;
pub use memory::MemoryStore;
pub use watch::{Event, Watch, WatchError};

/// Number of a commit, from 1; 0 means that nothing was ever committed.
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

/// A store. Every implementation passes the tests of `store/contract.rs`.
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
    /// or the store cannot be written. Nothing is changed in any of these cases.
    fn commit(&self, writes: &[Write]) -> Result<Revision, StoreError>;

    /// Why the store cannot be written: the error of the last write. `None` if that write or a new test write succeeds.
    fn write_failure(&self) -> Option<String>;

    /// Every later change of keys that start with `prefix`, in order.
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
