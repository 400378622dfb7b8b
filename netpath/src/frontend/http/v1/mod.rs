//! Wire types of version 1: the names of their fields are a stable interface.
//!
//! Fields may be added. A request with an unknown field is refused, so that a misspelt option is an error and not
//! silently ignored.

mod deny;
mod error;
mod event;
mod map;
mod network;
mod port;
mod sandbox;
mod status;

pub use crate::model::Owner;
pub use deny::{Denial, Deny, DenyRemove};
pub use error::{ErrorBody, ErrorDetail};
pub use event::{Action, Event, ObjectKind};
pub use map::{
    Counter, FlowKind, FlowProtocol, FragmentEnds, Fragmented, MapDump, MapEndpoint, MapInfo,
    MapNetwork, MapTable, NatFlow, Tuple, Verdict,
};
pub use network::{Connect, Disconnect, Driver, GatewayMode, Network, NetworkCreate, Scope};
pub use port::{AddressFamily, Port, Protocol, Publish, Unpublish};
pub use sandbox::{Endpoint, EndpointCreate, Join, Sandbox, SandboxCreate};
pub use status::{Flows, Interface, Node, Program, Reconcile, SandboxFlows, Status, Store};
