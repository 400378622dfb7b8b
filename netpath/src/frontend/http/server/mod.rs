//! The server: HTTP/1.1 with JSON on a unix socket.

mod events;
mod routes;
mod shared;
mod wire;

use std::{future::Future, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::UnixStream, sync::watch, task::JoinSet, time};

use super::{service::Service, socket::Listener};

/// Largest body of a request, in bytes.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// Time limit of running requests after the shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// Time limit for the head of a request, and for its body.
const RECEIVE: Duration = Duration::from_secs(10);

/// Connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 1024;

/// Time between two checks of the socket file.
const CHECK: Duration = Duration::from_secs(2);

/// Pause after a connection that could not be accepted.
const RETRY: Duration = Duration::from_millis(100);

/// Handles requests with `service` until `shutdown` completes. Then no new ones are accepted, event streams end, and running
/// requests have five seconds. A socket file that was deleted is created again.
pub async fn serve<S: Service>(
    mut listener: Listener,
    service: Arc<S>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (end, ended) = watch::channel(false);
    let router = routes::router(service, ended.clone());
    let mut connections = JoinSet::new();
    let mut check = time::interval(CHECK);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok(stream) => {
                    connections.spawn(serve_connection(stream, router.clone(), ended.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the API");
                    time::sleep(RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = check.tick() => listener.restore(),
        }
    }
    end.send_replace(true);
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    // Remaining connections are closed.
    let _ = time::timeout(GRACE, rest).await;
}

/// Handles the requests of one connection.
async fn serve_connection(stream: UnixStream, router: Router, mut ended: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(RECEIVE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = async {
        // An error means that the sender was dropped, which happens only after serving has ended.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ended => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the API has ended");
    }
}
