//! Docker Engine: its bridge networks and containers are adopted, and its published ports are published.
//!
//! ```text
//! engine (API) ── events ──► companion ─► networks, endpoints, ports ─► commands
//! netlink ────── links ────►    │ ▲
//!                               └─┴ inspections: requests that wait until a container runs
//! ```
//!
//! The engine needs `{"iptables": false, "ip6tables": false, "userland-proxy": false}` in its settings. Events only
//! tell that something may have changed: each pass compares the networks, devices and ports of the engine with the objects
//! of owner `docker`. Objects are removed when their device or namespace is gone, never because the engine does not
//! reply.

mod api;
mod attach;
mod companion;
mod engine;
mod inspect;
mod network;
mod ports;
mod problems;
mod prune;
mod publish;

use std::{path::Path, time::Duration};

use crate::{
    commands::Commands,
    model::{Caller, Owner},
};
use companion::Companion;
use engine::{Engine, EngineError};

/// The sender of the companion's requests.
const CALLER: Caller = Caller {
    owner: Owner::Docker,
    force: false,
};

/// Topic of reports about the engine.
const ENGINE_TOPIC: &str = "docker engine";

/// First and longest pause between two attempts to connect to the engine.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Follows the engine at `socket` until the daemon ends.
pub async fn run(commands: Commands, socket: &Path) {
    let mut pause = PAUSES.0;
    let mut reported = None;
    loop {
        let error = match follow(&commands, socket, &mut reported).await {
            (error, true) => {
                pause = PAUSES.0;
                error
            }
            (error, false) => error,
        };
        let text = format!("{error}; networks and ports of running containers are kept");
        if reported.as_ref() != Some(&text) {
            tracing::warn!("{text}");
            commands.report(ENGINE_TOPIC, Some(text.clone())).await;
            reported = Some(text);
        }
        wait(&commands, pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Follows the engine until an error. Also returns whether it was connected.
async fn follow(
    commands: &Commands,
    socket: &Path,
    reported: &mut Option<String>,
) -> (EngineError, bool) {
    let engine = match Engine::connect(socket).await {
        Ok(engine) => engine,
        Err(error) => return (error, false),
    };
    // The stream is open before the objects are listed, so that no change is lost.
    let events = match engine.events().await {
        Ok(events) => events,
        Err(error) => return (error, false),
    };
    tracing::info!(socket = %socket.display(), "connected to Docker Engine");
    commands.report(ENGINE_TOPIC, None).await;
    *reported = None;
    let companion = Companion::new(commands.clone(), engine);
    (companion.run(events).await, true)
}

/// Waits, and removes objects whose devices are removed in the meantime.
async fn wait(commands: &Commands, pause: Duration) {
    let end = tokio::time::sleep(pause);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return,
            () = commands.wake().links.notified() => {
                if let Err(error) = prune::prune(commands).await {
                    tracing::warn!(%error, "cannot compare the devices of Docker Engine");
                }
            }
        }
    }
}
