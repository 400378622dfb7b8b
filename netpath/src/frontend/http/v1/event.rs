//! Events.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// What happened.
    pub action: Action,
    /// Kind of the object.
    pub object: ObjectKind,
    /// Name of the object.
    pub name: String,
    /// Details for people.
    pub message: Option<String>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was created.
    Created,
    /// It was removed.
    Removed,
    /// A sandbox was connected to a network.
    Connected,
    /// A sandbox was disconnected from a network.
    Disconnected,
    /// Ports were published.
    Published,
    /// Ports were withdrawn.
    Unpublished,
    /// A reconcile has corrected it, for example after another program has changed it.
    Repaired,
    /// It is degraded.
    Degraded,
    /// It has recovered.
    Recovered,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Removed => "removed",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Published => "published",
            Self::Unpublished => "unpublished",
            Self::Repaired => "repaired",
            Self::Degraded => "degraded",
            Self::Recovered => "recovered",
        })
    }
}

/// Kinds of objects in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A network.
    Network,
    /// A sandbox.
    Sandbox,
    /// An endpoint without a sandbox; the name is its id.
    Endpoint,
    /// A published port; the name is its sandbox's.
    Port,
    /// An uplink.
    Uplink,
    /// An entry of the deny list; the name is its prefix.
    Denial,
    /// The node itself.
    Node,
}
