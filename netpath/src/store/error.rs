//! Errors of stores.

use std::{io, path::PathBuf};

use super::{Expected, Revision};

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
            Self::InUse { .. } | Self::Io { .. } | Self::Database { .. } => true,
            Self::Unreadable { .. }
            | Self::Schema { .. }
            | Self::Conflict { .. }
            | Self::Twice { .. } => false,
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
