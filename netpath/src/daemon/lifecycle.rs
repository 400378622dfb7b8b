//! Removes sandboxes whose process or namespace has ended.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::{
    commands::Commands,
    kernel::process,
    model::{Id, ProcessId},
    reconcile::{Datapath, Kernel},
};

/// Longest wait for a request, after which a check starts without one. The end of a process requests a check.
const PERIOD: Duration = Duration::from_secs(2);

/// After a check, requests are delayed for this multiple of its duration, at most for [`PERIOD`].
const PAUSE: u32 = 20;

/// Runs until the daemon ends.
pub async fn run<K: Kernel + 'static, D: Datapath + 'static>(commands: Commands<K, D>) {
    let mut watched: HashMap<(Id, ProcessId), JoinHandle<()>> = HashMap::new();
    loop {
        let start = Instant::now();
        let processes = commands.remove_ended_sandboxes().await;
        watched.retain(|key, task| {
            let keep = processes.contains(key) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for key in processes {
            watched
                .entry(key)
                .or_insert_with(|| tokio::spawn(wait_for_process(commands.clone(), key.1)));
        }
        tokio::time::sleep((start.elapsed() * PAUSE).min(PERIOD)).await;
        tokio::select! {
            () = commands.wake().sandboxes.notified() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn wait_for_process<K: Kernel, D: Datapath>(commands: Commands<K, D>, process: ProcessId) {
    if let Err(error) = process::wait_gone(process).await {
        tracing::warn!(pid = process.pid, %error, "cannot wait for a process; checking it periodically instead");
    }
    commands.wake().sandboxes.notify_one();
}
