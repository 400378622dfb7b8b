//! The daemon and the command line of netpath.
//!
//! ```text
//!  cli ──► api ──► daemon ──► reconcile ──► plan ──► ipam ──► model        pure: model ipam plan
//!                    │            │
//!                    │            ├──► kernel    (links, addresses, routes, namespaces: rtnetlink)
//!                    │            ├──► datapath  (programs, maps, pins: aya)
//!                    │            └──► store     (what the user wants, crash-safe)
//!                    └──► config
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
