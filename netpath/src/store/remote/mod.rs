//! Distributed stores: their servers, and an HTTP client for them.

mod client;
mod error;
mod settings;
mod socket;
mod worker;

pub use error::{RemoteError, RemoteProblem};
pub use settings::{RemoteSettings, Server};

pub(super) use client::{Client, Exchange, Reply};
pub(super) use worker::Worker;

/// Number of the layout of the keys in a distributed store. It is part of every key.
pub(super) const SCHEMA: u64 = 1;
/// Prefix of everything that netpath writes to a distributed store.
pub(super) const ROOT: &str = "netpath/";
/// Key of the schema number and the identity of the store, as [`Identity`].
pub(super) const SCHEMA_KEY: &str = "netpath/schema";
/// Prefix of the keys of schema [`SCHEMA`].
pub(super) const KEYS: &str = "netpath/1/";

/// Value of [`SCHEMA_KEY`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Identity {
    /// Newest schema that was ever written.
    pub schema: u64,
    /// Random text that distinguishes this store from others.
    pub id: String,
}

impl Identity {
    /// The identity of a store that is empty so far.
    pub fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        // Each state of the standard library has random keys.
        let random = || RandomState::new().hash_one(());
        Self {
            schema: SCHEMA,
            id: format!("{:016x}{:016x}", random(), random()),
        }
    }

    /// The identity that a store contains, if this version can use the store.
    pub fn read(value: &[u8]) -> Result<Self, RemoteProblem> {
        let found: Self = serde_json::from_slice(value).map_err(|_| RemoteProblem::Foreign {
            key: SCHEMA_KEY.to_owned(),
        })?;
        if found.schema > SCHEMA {
            return Err(RemoteProblem::Schema {
                found: found.schema,
                known: SCHEMA,
            });
        }
        Ok(found)
    }

    /// As [`Self::read`]; also refuses another store than the expected one.
    pub fn read_expected(value: &[u8], expected: Option<&str>) -> Result<Self, RemoteProblem> {
        let found = Self::read(value)?;
        match expected {
            Some(expected) if expected != found.id => Err(RemoteProblem::Replaced),
            _ => Ok(found),
        }
    }

    /// Why a key below [`ROOT`] prevents the use of the store; `None` if it belongs to this schema.
    pub fn obstacle(key: &str) -> Option<RemoteProblem> {
        if key == SCHEMA_KEY || key.starts_with(KEYS) {
            return None;
        }
        let part = key
            .strip_prefix(ROOT)
            .and_then(|rest| rest.split('/').next());
        Some(match part.and_then(|part| part.parse().ok()) {
            Some(found) if found > SCHEMA => RemoteProblem::Schema {
                found,
                known: SCHEMA,
            },
            _ => RemoteProblem::Foreign {
                key: key.to_owned(),
            },
        })
    }
}
