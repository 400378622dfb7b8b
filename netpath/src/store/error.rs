//! Errors of stores.

use std::{io, path::PathBuf};

use super::{Expected, RemoteError, Revision};

/// Why an operation of a store fails.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("store {} is in use by another process; stop the other daemon or choose another --state-dir", path.display())]
    InUse {
        /// File.
        path: PathBuf,
    },
    /// The file is not a store, or it is damaged. It is not changed.
    #[error("store {} cannot be read: {reason}; restore it from a backup, or rename it to start with an empty store", path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// Reason, as text for users.
        reason: String,
    },
    /// A newer version of netpath wrote it. The file is not changed.
    #[error("store {} has schema {found}, but this version of netpath supports schemas up to {known}; start the version that wrote it", path.display())]
    Schema {
        /// File.
        path: PathBuf,
        /// Schema of the file.
        found: u64,
        /// Newest schema of this version.
        known: u64,
    },
    /// A key has another revision than expected.
    #[error("key '{key}' of the store has another revision (expected {}, found {}); repeat the request", expectation(*.expected), finding(*.found))]
    Conflict {
        /// Key.
        key: String,
        /// Expected revision.
        expected: Expected,
        /// Commit that wrote the key; `None` if the key does not exist.
        found: Option<Revision>,
    },
    /// One commit writes a key twice.
    #[error("key '{key}' is written twice in one commit; write it once")]
    Twice {
        /// Key.
        key: String,
    },
    /// A commit has too many writes.
    #[error("a commit has {writes} writes, but the store accepts {limit}; split the change")]
    TooLarge {
        /// Number of writes.
        writes: usize,
        /// Limit of the store.
        limit: usize,
    },
    /// Another holder has the key.
    #[error("key '{key}' of the store is held by '{by}'; stop that holder, or choose another name")]
    Held {
        /// Key.
        key: String,
        /// Value of the key.
        by: String,
    },
    /// The key cannot be held.
    #[error(
        "key '{key}' of the store cannot be held: only keys below '{}' can",
        super::HELD
    )]
    NotHeld {
        /// Key.
        key: String,
    },
    /// A file with a certificate, a key or a token is not valid.
    #[error("cannot use {}: {reason}", path.display())]
    Credentials {
        /// File.
        path: PathBuf,
        /// Reason, as text for users.
        reason: String,
    },
    /// The state directory was used with another kind of store.
    #[error(
        "the state directory was used with another kind of store (it has the key '{key}'); name that store with --store, or choose another --state-dir"
    )]
    OtherKind {
        /// Key that this kind of store does not use.
        key: String,
    },
    /// The distributed store is away, as of the last attempt.
    #[error("{reason}; shared objects cannot be changed until it returns")]
    Away {
        /// Error of the last attempt.
        reason: String,
    },
    /// A distributed store failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Operation, as a verb.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The database failed.
    #[error("cannot {action} store {}: {source}", path.display())]
    Database {
        /// Operation, as a verb.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: Box<redb::Error>,
    },
}

impl StoreError {
    /// Whether a later attempt may succeed without a change by the user.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::InUse { .. } | Self::Io { .. } | Self::Database { .. } | Self::Away { .. } => {
                true
            }
            Self::Unreadable { .. }
            | Self::Schema { .. }
            | Self::Conflict { .. }
            | Self::Twice { .. }
            | Self::TooLarge { .. }
            | Self::Held { .. }
            | Self::NotHeld { .. }
            | Self::Credentials { .. }
            | Self::OtherKind { .. } => false,
            Self::Remote(error) => error.can_retry(),
        }
    }
}

fn expectation(expected: Expected) -> String {
    match expected {
        Expected::Anything => "anything".to_owned(),
        Expected::Nothing => "nothing".to_owned(),
        Expected::Revision(revision) => format!("revision {revision}"),
    }
}

fn finding(found: Option<Revision>) -> String {
    expectation(found.map_or(Expected::Nothing, Expected::Revision))
}
