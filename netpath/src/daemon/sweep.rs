//! Removes expired flows.

use std::time::{Duration, Instant};

use crate::commands::Commands;

/// Shortest and longest wait for a request to sweep; after the wait, a sweep starts without a request. [`SHORTEST`] is
/// also the longest delay of a request.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// After a sweep, requests are delayed for this multiple of its duration, at most for [`SHORTEST`]. So requested sweeps
/// take about 1/[`URGENT_SHARE`] of the time, unless [`SHORTEST`] limits the delay.
const URGENT_SHARE: u32 = 10;

/// The wait for a request is this multiple of the duration of the sweep, but at least the period and at most
/// [`LONGEST`]. So periodic sweeps take at most 1/[`SHARE`] of the time, unless [`LONGEST`] limits the wait.
const SHARE: u32 = 100;

/// Runs until the daemon ends. The period is a quarter of the shortest idle limit, but at least [`SHORTEST`] and at most
/// [`LONGEST`].
pub async fn run(commands: Commands) {
    let limits = commands.config().timers.named().into_iter();
    let shortest = limits
        .map(|(_, limit)| limit)
        .min()
        .map_or(LONGEST, |nanoseconds| Duration::from_nanos(nanoseconds / 4));
    let period = shortest.clamp(SHORTEST, LONGEST);
    loop {
        let start = Instant::now();
        match commands.sweep().await {
            Ok(swept) if swept.removed > 0 => {
                tracing::debug!(flows = swept.flows, removed = swept.removed, "swept");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "cannot sweep the flow table"),
        }
        let pause = (start.elapsed() * SHARE).clamp(period, LONGEST);
        // Each removal of a sandbox requests a sweep, so requests may be frequent.
        tokio::time::sleep((start.elapsed() * URGENT_SHARE).min(SHORTEST)).await;
        tokio::select! {
            () = commands.wake().sweep.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
