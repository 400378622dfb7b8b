//! Reconciles after kernel events, and periodically, because changes of map entries cause no event.

use std::time::Duration;

use tokio::time::Instant;

use super::invalidation::Invalidation;
use crate::{commands::Commands, kernel::Watch};

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
        let hold_end = commands.uplink_hold_end().await.map(Instant::from_std);
        due = next_due(start, end, period, hold_end);
    }
}

/// Time at which the next reconcile is due if no event requires it earlier. The previous reconcile ran from `start` to
/// `end`.
///
/// An uplink without a default route is held for a time (`NodeParts::uplink_hold`). The end of that time causes no event,
/// so a reconcile is due then, even if the pause would be longer. A hold that ended before `end` is ignored: the previous
/// reconcile failed, and the next one must not follow immediately.
fn next_due(start: Instant, end: Instant, period: Duration, hold_end: Option<Instant>) -> Instant {
    let due = end + period.max((end - start) * SHARE);
    match hold_end {
        Some(hold_end) if hold_end > end => due.min(hold_end),
        _ => due,
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
                    if commands.may_require_reconcile(&event).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    fn due_after(took: Duration, hold: Option<Duration>) -> Duration {
        let start = Instant::now();
        let due = next_due(start, start + took, PERIOD, hold.map(|hold| start + hold));
        due - (start + took)
    }

    #[test]
    fn pause_is_the_period_or_the_share_of_the_duration() {
        assert_eq!(due_after(Duration::from_millis(1), None), PERIOD);
        let long = due_after(Duration::from_secs(2), None);
        assert_eq!(long, Duration::from_secs(200));
    }

    #[test]
    fn reconcile_is_due_when_the_hold_of_an_uplink_ends() {
        let took = Duration::from_secs(2);
        let due = due_after(took, Some(Duration::from_secs(12)));
        assert_eq!(due, Duration::from_secs(10));
    }

    #[test]
    fn hold_that_ended_before_a_failed_reconcile_is_ignored() {
        let took = Duration::from_millis(2);
        assert_eq!(due_after(took, Some(Duration::from_millis(1))), PERIOD);
    }
}
