//! Owners of objects.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The program that manages an object.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Users of netpath's command line and HTTP API.
    #[default]
    Netpath,
    /// Docker Engine.
    Docker,
    /// A CNI runtime.
    Cni,
    /// Podman.
    Podman,
}

/// The sender of a request, and whether it may change objects of other owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The program that sends the request.
    pub owner: Owner,
    /// Whether the caller may change objects of other owners.
    pub force: bool,
}

impl Caller {
    /// The daemon itself, for objects of every owner.
    pub const DAEMON: Self = Self {
        owner: Owner::Netpath,
        force: true,
    };

    /// Whether the caller may change objects of `owner`.
    pub fn may_change(self, owner: Owner) -> bool {
        self.force || self.owner == owner
    }
}

impl Owner {
    /// Whether the program binds the published ports of its containers with sockets of its own. netpath does not reserve
    /// them then, and the sockets are no conflict.
    pub fn holds_ports(self) -> bool {
        matches!(self, Self::Docker | Self::Podman)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Netpath => "netpath",
            Self::Docker => "docker",
            Self::Cni => "cni",
            Self::Podman => "podman",
        })
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let owners = [Self::Netpath, Self::Docker, Self::Cni, Self::Podman];
        let found = owners.into_iter().find(|owner| owner.to_string() == text);
        found.ok_or_else(|| {
            format!("'{text}' is not an owner; owners are netpath, docker, cni and podman")
        })
    }
}
