//! Networks, sandboxes, endpoints and ports, and the requests that change them. No IO, clock, randomness or async.
//!
//! The result of a request is a [`Change`]: objects before and after it. `commands` stores it, `plan` turns it into
//! operations, and the reverse of a change exchanges both.

pub mod claims;
pub mod deny;
mod id;
mod network;
mod overlay;
mod owner;
mod port;
mod ranges;
mod rate;
pub mod request;
mod sandbox;
pub mod state;

pub use claims::{Layout, OwnClaims};
pub use deny::{DenyList, DenyPrefix};
pub use id::{Id, IdError, Name, NameError};
pub use network::{Driver, GatewayMode, Network, Scope, Subnet};
pub use overlay::{Encap, EncapError, Overlay, Peer, RemotePrefix, Vni, VniError, derived_mac};
pub use owner::{Caller, Owner};
pub(crate) use port::Span;
pub use port::{PortMapping, PortSpec, PortSpecError, Protocol};
pub use ranges::{OverlayRange, OverlayRanges};
pub use rate::{Rate, RateError};
pub use sandbox::{
    Endpoint, Holder, NetnsId, NetnsSource, NetworkMode, ProcessId, Sandbox, parse_mac,
};
pub(crate) use sandbox::{mac_text, optional_mac_text};
pub use state::State;

/// Objects before and after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A network is created, changed or removed.
    Network {
        /// Before; `None` if it is created.
        before: Option<Box<Network>>,
        /// After; `None` if it is removed.
        after: Option<Box<Network>>,
    },
    /// A sandbox, with its endpoints and ports, is created, changed or removed.
    Sandbox {
        /// Before; `None` if it is created.
        before: Option<Box<Sandbox>>,
        /// After; `None` if it is removed.
        after: Option<Box<Sandbox>>,
    },
    /// An endpoint without a sandbox is created or removed.
    Endpoint {
        /// Before; `None` if it is created.
        before: Option<Box<Endpoint>>,
        /// After; `None` if it is removed.
        after: Option<Box<Endpoint>>,
    },
    /// An endpoint is joined to a sandbox, or leaves it.
    Membership {
        /// The endpoint as stored without a sandbox.
        endpoint: Box<Endpoint>,
        /// Whether the endpoint joins the sandbox; `false` if it leaves the sandbox.
        joins: bool,
        /// The sandbox before.
        before: Box<Sandbox>,
        /// The sandbox after.
        after: Box<Sandbox>,
    },
    /// Entries of the deny list are created, changed or removed.
    Denials {
        /// Those that exist before.
        before: deny::Denials,
        /// Those that exist after.
        after: deny::Denials,
    },
}

impl Change {
    /// The sandbox after the change.
    ///
    /// # Errors
    /// If the change does not concern a sandbox, or removes it.
    pub fn new_sandbox(&self) -> Result<&Sandbox, state::StateError> {
        match self {
            Self::Sandbox {
                after: Some(sandbox),
                ..
            }
            | Self::Membership { after: sandbox, .. } => Ok(sandbox),
            _ => Err(state::StateError::Contradiction {
                object: "the change".to_owned(),
                reason: "it has no sandbox".to_owned(),
            }),
        }
    }

    /// The endpoint without a sandbox after the change.
    ///
    /// # Errors
    /// If there is none.
    pub fn new_endpoint(&self) -> Result<&Endpoint, state::StateError> {
        let endpoint = self.unbound_endpoints().1;
        endpoint.ok_or_else(|| state::StateError::Contradiction {
            object: "the change".to_owned(),
            reason: "it has no endpoint".to_owned(),
        })
    }

    /// The sandbox before and after the change; `None` if the sandbox does not exist then, or is not part of the
    /// change.
    pub fn sandboxes(&self) -> (Option<&Sandbox>, Option<&Sandbox>) {
        match self {
            Self::Sandbox { before, after } => (before.as_deref(), after.as_deref()),
            Self::Membership { before, after, .. } => (Some(before), Some(after)),
            Self::Network { .. } | Self::Endpoint { .. } | Self::Denials { .. } => (None, None),
        }
    }

    /// The endpoint without a sandbox before and after the change; `None` if there is none.
    pub fn unbound_endpoints(&self) -> (Option<&Endpoint>, Option<&Endpoint>) {
        match self {
            Self::Endpoint { before, after } => (before.as_deref(), after.as_deref()),
            Self::Membership {
                endpoint,
                joins: true,
                ..
            } => (Some(endpoint), None),
            Self::Membership {
                endpoint,
                joins: false,
                ..
            } => (None, Some(endpoint)),
            Self::Network { .. } | Self::Sandbox { .. } | Self::Denials { .. } => (None, None),
        }
    }

    /// The change that reverses this one.
    pub fn reversed(self) -> Self {
        match self {
            Self::Network { before, after } => Self::Network {
                before: after,
                after: before,
            },
            Self::Sandbox { before, after } => Self::Sandbox {
                before: after,
                after: before,
            },
            Self::Endpoint { before, after } => Self::Endpoint {
                before: after,
                after: before,
            },
            Self::Membership {
                endpoint,
                joins,
                before,
                after,
            } => Self::Membership {
                endpoint,
                joins: !joins,
                before: after,
                after: before,
            },
            Self::Denials { before, after } => Self::Denials {
                before: after,
                after: before,
            },
        }
    }
}
