//! Errors of distributed stores.

use std::time::Duration;

/// Why a call of a distributed store fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {call} at the store {server}: {problem}{}", if *.uncertain { "; the change may have been stored" } else { "" })]
pub struct RemoteError {
    /// The call, as a verb with its object.
    pub call: &'static str,
    /// Server, as `HOST:PORT`. The last one that was tried.
    pub server: String,
    /// What is wrong.
    pub problem: RemoteProblem,
    /// Whether a change may have been executed although the call failed.
    pub uncertain: bool,
}

/// What is wrong with a distributed store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteProblem {
    /// No connection, or it was closed.
    #[error("{0}; check that it runs and that --store names it")]
    Unreachable(String),
    /// No response in time.
    #[error("no response within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The server cannot serve at present, for example because it has no leader.
    #[error("it cannot serve at present: {0}")]
    Unavailable(String),
    /// TLS failed: a certificate is not accepted, or one side does not use TLS.
    #[error("TLS failed: {0}; check --store-ca, --store-cert and --store-key")]
    Certificate(String),
    /// The token or password is wrong, or has too few permissions.
    #[error("access denied: {0}; check --store-token")]
    Token(String),
    /// A newer version of netpath uses the store.
    #[error(
        "it has schema {found}, but this version of netpath supports schemas up to {known}; upgrade netpath on this node"
    )]
    Schema {
        /// Schema of the store.
        found: u64,
        /// Newest schema of this version.
        known: u64,
    },
    /// Another program uses the prefix.
    #[error("key '{key}' does not belong to netpath; remove it, or use another store")]
    Foreign {
        /// Key.
        key: String,
    },
    /// The store is another one than before, or netpath's keys were removed.
    #[error(
        "it is another store than this node has used before, or its keys were removed; restore it from a backup, or name the earlier store with --store"
    )]
    Replaced,
    /// The server refuses the call.
    #[error("refused: {0}")]
    Refused(String),
    /// The response is not valid.
    #[error("invalid response: {0}; check that --store names a store of this kind")]
    Invalid(String),
}

impl RemoteError {
    /// Whether a later attempt may succeed without a change by the user.
    pub fn can_retry(&self) -> bool {
        matches!(
            self.problem,
            RemoteProblem::Unreachable(_)
                | RemoteProblem::TimedOut(_)
                | RemoteProblem::Unavailable(_)
        )
    }
}
