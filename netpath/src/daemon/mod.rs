//! The daemon: one task owns the state; requests, events and timers take turns.
//!
//! ```text
//! API ──────────► service ─┐
//! netlink ──────► watch ───┼─► node: state, store, reconciler
//! processes ────► life ────┤
//! timers ───────► sweep ───┘
//! ```

mod error;
mod exhaustion;
mod life;
mod lock;
mod node;
mod present;
mod service;
mod start;
mod status;
mod sweep;
mod teardown;
mod watch;

use std::sync::Arc;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, Notify, broadcast, oneshot},
};

use crate::{
    api::{server, socket, v1},
    config::Config,
};

pub use error::DaemonError;
pub use teardown::teardown_forced;

/// Events that a slow reader may lag behind.
const EVENTS: usize = 1024;

/// What all parts of the daemon share.
pub(crate) struct Shared {
    config: Config,
    node: Mutex<node::Node>,
    events: broadcast::Sender<v1::Event>,
    /// Somebody removed flows' endpoints: sweep now.
    sweep_now: Notify,
    /// The next look at everything is due now.
    reconcile_now: Notify,
    /// Sandboxes have come: look after their processes.
    sandboxes_changed: Notify,
    /// The daemon is to end.
    end: Notify,
}

/// Runs the daemon until a signal or a teardown ends it. What it has put into the kernel stays, unless torn down.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: Config) -> Result<(), DaemonError> {
    // The lock lives as long as the daemon.
    let _lock = lock::take(&config.run_dir)?;
    let listener = socket::bind(&config.socket)?;
    let node = start::start(&config).await?;
    let watch = crate::kernel::Watch::open()?;
    let (events, _) = broadcast::channel(EVENTS);
    let shared = Arc::new(Shared {
        config,
        node: Mutex::new(node),
        events,
        sweep_now: Notify::new(),
        reconcile_now: Notify::new(),
        sandboxes_changed: Notify::new(),
        end: Notify::new(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(watch::run(Arc::clone(&shared), watch));
    tasks.spawn(life::run(Arc::clone(&shared)));
    tasks.spawn(sweep::run(Arc::clone(&shared)));
    let service = Arc::new(service::Api(Arc::clone(&shared)));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let stopped = async {
            // An error means that the sender is gone, which says the same.
            let _ = stopped.await;
        };
        if let Err(error) = server::serve(listener, service, stopped).await {
            tracing::error!(%error, "the API has ended");
        }
    });
    tracing::info!(socket = %shared.config.socket.display(), "ready");
    // Fails only without systemd.
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    let mut terminate = signal(SignalKind::terminate()).map_err(runtime("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(runtime("wait for SIGINT"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = shared.end.notified() => {}
    }
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    // Requests that are under way are finished first.
    drop(stop);
    serving
        .await
        .map_err(|error| runtime("end the API")(error.into()))?;
    let node = shared.node.lock().await;
    tasks.abort_all();
    if node.torn_down {
        teardown::remove_run_dir(&shared.config.run_dir)?;
    }
    Ok(())
}

fn runtime(action: &'static str) -> impl Fn(std::io::Error) -> DaemonError {
    move |source| DaemonError::Runtime { action, source }
}
