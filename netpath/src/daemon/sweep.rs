//! Expiry of flows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Shared;

/// Shortest and longest time between sweeps.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Sweeps that were asked for may take one part in so many of the time.
const URGENT_SHARE: u32 = 10;

/// A sweep may take one part in so many of the time.
const SHARE: u32 = 100;

/// Sweeps until the daemon ends: in the rhythm of the shortest timer, but never more than a hundredth of the time.
pub async fn run(shared: Arc<Shared>) {
    let timers = shared.config.timers;
    let shortest = timers
        .named()
        .into_iter()
        .map(|(_, limit)| limit)
        .min()
        .map_or(LONGEST, |nanoseconds| Duration::from_nanos(nanoseconds / 4));
    let rhythm = shortest.clamp(SHORTEST, LONGEST);
    loop {
        let began = Instant::now();
        let swept = {
            let mut node = shared.node.lock().await;
            let swept = tokio::task::block_in_place(|| node.reconciler.datapath.sweep());
            match &swept {
                Ok(_) => node.troubles.remove("sweep"),
                Err(error) => node
                    .troubles
                    .insert("sweep", format!("flows do not expire: {error}")),
            };
            node.watch_exhaustion(&shared.config.bpf_dir);
            swept
        };
        match swept {
            Ok(swept) if swept.removed > 0 => {
                tracing::debug!(flows = swept.flows, removed = swept.removed, "swept")
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "cannot sweep the flow table"),
        }
        let pause = (began.elapsed() * SHARE).clamp(rhythm, LONGEST);
        // Whoever removes a thousand sandboxes asks for a sweep as often.
        tokio::time::sleep((began.elapsed() * URGENT_SHARE).min(SHORTEST)).await;
        tokio::select! {
            () = shared.sweep_now.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
