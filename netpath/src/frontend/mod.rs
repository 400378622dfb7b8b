//! Front ends. Each translates the requests of one protocol to [`crate::commands`], and the results back.
//! Another front end is another module here, which [`serve`] starts.

pub mod docker;
pub mod http;

use crate::commands::Commands;

/// Runs every front end until `stopped` completes, and running requests have ended. `listener` is the socket of the HTTP
/// API.
pub async fn serve(
    listener: http::socket::Listener,
    commands: Commands,
    stopped: impl Future<Output = ()> + Send + 'static,
) {
    let companion = commands.config().docker.clone().map(|socket| {
        let commands = commands.clone();
        tokio::spawn(async move { docker::run(commands, &socket).await })
    });
    http::serve(listener, commands, stopped).await;
    if let Some(companion) = companion {
        companion.abort();
    }
}
