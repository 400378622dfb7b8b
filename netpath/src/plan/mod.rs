//! From the desired and the observed state to a list of operations. No IO.
//!
//! ```text
//! model ──► Desired ─┐
//!                    ├─► plan() ──► [Operation]
//! kernel ─► Observed ┘
//! ```
//!
//! Both sides may be complete (periodic reconcile) or hold the objects of one change: [`plan`] compares what it is given
//! and never removes objects that are not in `Observed`. Tests plan a change without observing:
//! `plan(&after, &Observed::complete(&before))`, with both sides from [`Desired::of_change`].

mod cluster;
pub mod denied;
mod desired;
mod diff;
mod display;
mod observed;
mod operation;
pub mod overlay;
pub mod own_ports;
pub mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod translate;

pub use desired::{
    AdoptedDevice, Bridge, Desired, Facts, Inside, Interface, Namespace, Underlay, Veth,
};
pub use diff::plan;
pub use observed::{
    Attachment, Hook, LinkHeader, Observed, ObservedBridge, ObservedInside, ObservedVeth, UsedRoute,
};
pub(crate) use translate::mtu;

pub use operation::{Operation, Phase};
