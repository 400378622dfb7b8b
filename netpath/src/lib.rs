//! The daemon and the command line of netpath.
//!
//! ```text
//!  cli ─► daemon ─► frontend/http ─► commands ─► reconcile ─► kernel    (links, addresses, routes, namespaces: rtnetlink)
//!                                       │            ├──────► datapath  (programs, maps, pins: aya)
//!                                       │            └──────► plan ─► model ─► ipam   (no IO)
//!                                       └──► store                      (objects, crash-safe: redb)
//! ```
//!
//! `docs/architecture.md` states the invariants; `cargo xtask lint` checks them.

pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod datapath;
pub mod frontend;
pub mod ipam;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod store;
