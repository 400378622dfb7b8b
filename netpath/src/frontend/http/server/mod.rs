//! The server: HTTP/1.1 with JSON on a unix socket.

mod events;
mod routes;
mod shared;
mod wire;

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{net::UnixListener, sync::watch};

use super::service::Service;

/// Largest body of a request, in bytes.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// Time limit of running requests after the shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// Handles requests with `service` until `shutdown` completes. Then no new ones are accepted, event streams end, and running
/// requests have five seconds.
///
/// # Errors
/// If the listener fails.
pub async fn serve<S: Service>(
    listener: UnixListener,
    service: Arc<S>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (end, ended) = watch::channel(false);
    let mut deadline = ended.clone();
    let router = routes::router(service, ended);
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        end.send_replace(true);
    });
    tokio::select! {
        result = serving => result,
        () = async {
            // An error means that the sender was dropped, which happens only after serving has ended.
            let _ = deadline.wait_for(|ended| *ended).await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    }
}
