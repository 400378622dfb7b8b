//! Reconciles after kernel events, and periodically, because changes of map entries cause no event.

use std::time::Duration;

use tokio::time::Instant;

use super::invalidation::Invalidation;
use crate::{
    commands::Commands,
    kernel::{Event, Watch},
};

/// After an event, a reconcile starts when no further event has arrived for this time.
const SETTLE: Duration = Duration::from_millis(200);

/// Longest delay of a reconcile after the first event.
const LATEST: Duration = Duration::from_secs(2);

/// Periodic reconciles take at most 1/[`SHARE`] of the time.
const SHARE: u32 = 100;

/// Runs until the daemon ends.
pub async fn run(commands: Commands, mut watch: Watch) {
    let period = commands.config().reconcile;
    let mut due = Instant::now() + period;
    let mut invalidation = Invalidation::default();
    loop {
        wait(&commands, &mut watch, &mut invalidation, due).await;
        let start = Instant::now();
        if let Err(error) = commands.reconcile().await {
            tracing::error!(%error, "reconcile failed");
        }
        let end = Instant::now();
        due = end + period.max((end - start) * SHARE);
    }
}

/// Attaches the programs of an interface that is up, so that it does not receive packets without them until the reconcile.
async fn attach_at_once(commands: &Commands, event: &Event) {
    let Event::LinkChanged {
        index,
        name,
        gone: false,
        up: true,
    } = event
    else {
        return;
    };
    if let Err(error) = commands.attach_interface(*index, name).await {
        tracing::warn!(%error, interface = %name, "cannot attach the programs of an interface yet");
    }
}

/// Returns at the time `due`, or after events that require a reconcile.
async fn wait(
    commands: &Commands,
    watch: &mut Watch,
    invalidation: &mut Invalidation,
    due: Instant,
) {
    let due = tokio::time::sleep_until(due);
    tokio::pin!(due);
    let mut latest: Option<Instant> = None;
    loop {
        tokio::select! {
            () = &mut due => return,
            () = commands.wake().reconcile.notified() => return,
            event = watch.next() => match event {
                Ok(event) => {
                    invalidation.note(commands, &event).await;
                    attach_at_once(commands, &event).await;
                    if commands.may_require_reconcile(&event).await {
                        let now = Instant::now();
                        let latest = *latest.get_or_insert(now + LATEST);
                        due.as_mut().reset(latest.min(now + SETTLE));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot receive kernel events; reconciling periodically instead");
                    tokio::time::sleep(commands.config().reconcile).await;
                    return;
                }
            },
        }
    }
}
