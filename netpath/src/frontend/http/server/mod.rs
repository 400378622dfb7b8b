//! The daemon's end: HTTP/1.1 with JSON on a unix socket.

mod events;
mod routes;
mod wire;

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{net::UnixListener, sync::watch};

use super::service::Service;

/// Largest body of a request, in bytes.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// How long running requests may take after the end was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// Answers requests with `service` until `shutdown` is done; then no more come in, event streams end, and running
/// requests have five seconds.
///
/// # Errors
/// If the listener fails for good.
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
            // An error means that the sender is gone, which only happens once serving is over.
            let _ = deadline.wait_for(|ended| *ended).await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    }
}
