//! What a user can ask for: validated nouns without IO, clock, randomness or async.
//!
//! Every request becomes a [`Change`]: one object before and after. The daemon stores it, the planner turns it into
//! operations, and reverting it is the same change with its ends swapped.

mod id;
mod network;
mod port;
pub mod request;
mod sandbox;
pub mod state;

pub use id::{Id, IdError, Name, NameError};
pub use network::{Driver, GatewayMode, Network, Subnet};
pub(crate) use port::Span;
pub use port::{PortMapping, PortSpec, PortSpecError, Protocol};
pub(crate) use sandbox::mac_text;
pub use sandbox::{Endpoint, NetnsSource, NetworkMode, ProcessId, Sandbox, parse_mac};
pub use state::State;

/// One object before and after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A network appears, changes or goes.
    Network {
        /// As it was; `None` if it is new.
        before: Option<Box<Network>>,
        /// As it will be; `None` if it goes.
        after: Option<Box<Network>>,
    },
    /// A sandbox, with its endpoints and ports, appears, changes or goes.
    Sandbox {
        /// As it was; `None` if it is new.
        before: Option<Box<Sandbox>>,
        /// As it will be; `None` if it goes.
        after: Option<Box<Sandbox>>,
    },
}

impl Change {
    /// The sandbox after the change.
    ///
    /// # Errors
    /// If the change is not about a sandbox, or removes it.
    pub fn new_sandbox(&self) -> Result<&Sandbox, state::StateError> {
        match self {
            Self::Sandbox {
                after: Some(sandbox),
                ..
            } => Ok(sandbox),
            _ => Err(state::StateError::Contradiction {
                object: "the change".to_owned(),
                reason: "it has no sandbox".to_owned(),
            }),
        }
    }

    /// The change that undoes this one.
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
        }
    }
}
