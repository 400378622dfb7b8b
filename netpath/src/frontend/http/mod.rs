//! The HTTP API on a unix socket.
//!
//! ```text
//! cli ─► client ─► (unix socket) ─► server ─► Service ◄─ translate ─► commands
//!            └───────── v1 ───────────┘                  convert, tables
//! ```

pub mod client;
mod convert;
pub mod server;
pub mod service;
pub mod socket;
pub mod tables;
mod translate;
pub mod v1;

#[cfg(test)]
pub(crate) mod tests;

use std::{future::Future, sync::Arc};

use crate::commands::Commands;

pub(crate) use convert::timers;

/// Serves the API until `shutdown` completes, and running requests have ended.
pub async fn serve(
    listener: socket::Listener,
    commands: Commands,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let service = Arc::new(translate::Translator(commands));
    server::serve(listener, service, shutdown).await;
}
