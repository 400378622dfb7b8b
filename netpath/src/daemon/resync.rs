//! Reconciles after kernel events, and periodically: changes of map entries cause no event.

use std::time::Duration;

use tokio::time::Instant;

use crate::{commands::Commands, kernel::Watch};

/// Quiet time after the last event of a burst before the reconcile starts.
const SETTLE: Duration = Duration::from_millis(200);

/// Longest delay of a reconcile during a burst.
const LATEST: Duration = Duration::from_secs(2);

/// Periodic reconciles take at most 1/100 of the time.
const SHARE: u32 = 100;

/// Runs until the daemon ends.
pub async fn run(commands: Commands, mut watch: Watch) {
    let period = commands.config().reconcile;
    let mut pause = period;
    loop {
        wait(&commands, &mut watch, pause).await;
        let start = Instant::now();
        if let Err(error) = commands.reconcile().await {
            tracing::error!(%error, "reconcile failed");
        }
        pause = period.max(start.elapsed() * SHARE);
    }
}

/// Returns after `pause`, or after a burst of events that require a reconcile.
async fn wait(commands: &Commands, watch: &mut Watch, pause: Duration) {
    let due = tokio::time::sleep(pause);
    tokio::pin!(due);
    let mut latest: Option<Instant> = None;
    loop {
        tokio::select! {
            () = &mut due => return,
            () = commands.wake().reconcile.notified() => return,
            event = watch.next() => match event {
                Ok(event) => {
                    if commands.concerns(&event).await {
                        let now = Instant::now();
                        let latest = *latest.get_or_insert(now + LATEST);
                        due.as_mut().reset(latest.min(now + SETTLE));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot watch the kernel; reconciling periodically instead");
                    tokio::time::sleep(commands.config().reconcile).await;
                    return;
                }
            },
        }
    }
}
