//! The daemon: startup, the tasks that run until it ends, and shutdown.
//!
//! ```text
//! front ends ────────────► commands
//! netlink ───► resync ─────┤
//! netlink ───► links ──────┤
//! processes ─► lifecycle ──┤
//! timer ─────► sweep ──────┤
//! timer ─────► denials ────┤
//! requests ──► publish ────┤
//! store ─────► follow ─────┘
//! ```

mod alive;
mod denials;
mod error;
mod follow;
mod invalidation;
mod lifecycle;
mod links;
mod lock;
mod publish;
mod resync;
mod startup;
mod sweep;
mod teardown;
#[cfg(test)]
mod tests;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::{
    commands::Commands,
    config::Config,
    frontend::{self, http},
};
use lock::Locks;

pub use error::DaemonError;
pub use teardown::teardown_forced;

/// Runs the daemon until a signal or a teardown stops it. Its kernel state remains unless the node was torn down.
///
/// # Errors
/// If the daemon cannot start, or its front ends fail.
pub async fn run(config: Config) -> Result<(), DaemonError> {
    startup::check_requirements()?;
    startup::mount_bpffs(&config.bpf_dir)?;
    // Held until the daemon stops.
    let _locks = Locks::take(&config)?;
    let listener = http::socket::bind(&config.socket)?;
    let node = startup::start(&config).await?;
    let watch = crate::kernel::Watch::open()?;
    let commands = Commands::new(config, node);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(resync::run(commands.clone(), watch));
    tasks.spawn(lifecycle::run(commands.clone()));
    if commands.config().docker.is_some() {
        let watch = crate::kernel::Watch::open()?;
        tasks.spawn(links::run(commands.clone(), watch));
    }
    tasks.spawn(sweep::run(commands.clone()));
    tasks.spawn(follow::run(commands.clone()));
    tasks.spawn(denials::run(commands.clone()));
    tasks.spawn(publish::run(commands.clone()));
    tasks.spawn(alive::run(commands.clone()));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // An error means that the sender was dropped, which is the signal to stop.
        let _ = stopped.await;
    };
    let serving = tokio::spawn(frontend::serve(listener, commands.clone(), stopped));
    tracing::info!(socket = %commands.config().socket.display(), "ready");
    // Without systemd this does nothing. A failure to reach systemd is not fatal.
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    wait_for_end(&commands).await?;
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    // Running requests are finished first.
    drop(stop);
    serving
        .await
        .map_err(|error| runtime("stop the front ends")(error.into()))?;
    let torn_down = commands.is_torn_down().await;
    tasks.abort_all();
    if torn_down {
        teardown::remove_run_dir(&commands.config().run_dir)?;
    }
    Ok(())
}

async fn wait_for_end(commands: &Commands) -> Result<(), DaemonError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(runtime("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(runtime("wait for SIGINT"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = commands.wake().end.notified() => {}
    }
    Ok(())
}

fn runtime(action: &'static str) -> impl Fn(std::io::Error) -> DaemonError {
    move |source| DaemonError::Runtime { action, source }
}
