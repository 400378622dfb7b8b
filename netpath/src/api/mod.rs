//! The daemon's HTTP API on a unix socket: wire types, what the daemon must answer, both ends of the socket.
//!
//! ```text
//! cli ──► client ──► (unix socket) ──► server ──► Service ◄── implemented by the daemon
//!             └────────── v1 ──────────────┘
//! ```

pub mod client;
pub mod server;
pub mod service;
pub mod socket;
pub mod v1;

#[cfg(test)]
pub(crate) mod tests;
