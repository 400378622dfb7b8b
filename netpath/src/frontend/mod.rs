//! Front ends. Each translates the requests of one protocol to [`crate::commands`], and the results back.
//! Another front end is another module here; [`crate::daemon`] starts it.

pub mod http;

use std::io;

use tokio::net::UnixListener;

use crate::commands::Commands;

/// Runs every front end until `stopped` completes, and running requests have ended. `listener` is the socket of the HTTP
/// API.
///
/// # Errors
/// The first front end that failed.
pub async fn serve(
    listener: UnixListener,
    commands: Commands,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    http::serve(listener, commands, stopped).await
}
