//! Events: the changes that commands have made.

use std::time::SystemTime;

/// A change that has been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Time at which the change was applied.
    pub time: SystemTime,
    /// Action.
    pub action: Action,
    /// Kind of the object.
    pub object: ObjectKind,
    /// Name of the object.
    pub name: String,
    /// Details, as text for users.
    pub message: Option<String>,
}

/// Actions on objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A reconcile has corrected the node, for example after another program has changed an object of netpath.
    Repaired,
}

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A network.
    Network,
    /// A sandbox.
    Sandbox,
    /// An endpoint without a sandbox; the name is its id.
    Endpoint,
    /// A published port; the name is the name of its sandbox.
    Port,
    /// An entry of the deny list; the name is its prefix.
    Denial,
    /// The node.
    Node,
}

impl Event {
    pub(super) fn now(
        action: Action,
        object: ObjectKind,
        name: &str,
        message: Option<String>,
    ) -> Self {
        Self {
            time: SystemTime::now(),
            action,
            object,
            name: name.to_owned(),
            message,
        }
    }
}
