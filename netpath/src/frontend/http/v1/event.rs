//! Events.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// What happened.
    pub action: Action,
    /// To what kind of object.
    pub object: ObjectKind,
    /// Name of the object.
    pub name: String,
    /// More, for people.
    pub message: Option<String>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Created,
    /// It is gone.
    Removed,
    /// A sandbox joined a network.
    Connected,
    /// A sandbox left a network.
    Disconnected,
    /// A port is reachable.
    Published,
    /// A port is no longer reachable.
    Unpublished,
    /// Somebody else changed it and netpath restored it.
    Repaired,
    /// It does not work as it should.
    Degraded,
    /// It works again.
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

/// Kinds of objects that events tell about.
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
    /// A way out.
    Uplink,
    /// The node itself.
    Node,
}
