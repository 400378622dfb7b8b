//! The kernel's devices, addresses, routes, namespaces and sysctls. Only this module uses netlink.
//!
//! ```text
//!  Kernel ── links, addresses, routes ──► facts        input of the planner
//!     │                                    observe     observed state
//!     └──── bridge, veth, inside                       execution of operations
//!  host · netns · process · mounts · sysctl · listeners · watch
//! ```
//!
//! Every change is idempotent: requesting the current state changes nothing, removing a missing object
//! succeeds. No operation on one object lists all objects, so the cost of an operation is independent of their number.
//!
//! A [`Kernel`] belongs to the network namespace of the thread that opened it. Sysctls and `/proc/net` always refer to
//! the namespace of the calling thread, so all threads of one runtime must be in the same namespace.

mod address;
mod bridge;
mod error;
mod facts;
pub mod filter;
pub mod host;
mod inside;
mod interfaces;
mod link;
pub mod listeners;
pub mod mounts;
pub mod netns;
mod observe;
pub mod process;
mod qdisc;
mod random;
mod route;
mod route_dump;
mod socket;
pub mod sysctl;
mod veth;
mod watch;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use error::Error;
pub use facts::NodeFacts;
pub use inside::ContainerLink;
pub use interfaces::{DeviceRole, LinkLayer, Role};
pub use link::{Link, link_index};
pub use observe::IndexedVeth;
pub use qdisc::foreign_qdiscs;
pub use random::random;
pub use route::{DefaultRoute, Prefixes};
pub use watch::{Event, Watch};

/// Prefix of the names of netpath's bridges.
pub const BRIDGE_PREFIX: &str = "npb-";

/// Prefix of the names of netpath's host interfaces.
pub const VETH_PREFIX: &str = "npv-";

/// Whether a device with this name is one of netpath's.
pub fn is_own_device(name: &str) -> bool {
    name.starts_with(BRIDGE_PREFIX) || name.starts_with(VETH_PREFIX)
}

/// Requests to the kernel in one network namespace; clones share a socket.
#[derive(Clone, Debug)]
pub struct Kernel {
    socket: socket::Socket,
}

impl Kernel {
    /// For the namespace of the calling thread, driven by the current tokio runtime. Needs Linux 5.0 (strict checking
    /// of dump requests).
    ///
    /// # Panics
    /// Outside a tokio runtime with IO enabled.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            socket: socket::Socket::open()?,
        })
    }
}
