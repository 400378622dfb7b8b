//! Tells the programs that the routes of flows may have changed.

use std::time::Duration;

use tokio::time::Instant;

use crate::{commands::Commands, kernel::Event};

/// Shortest time between two invalidations for changes of routes. Routing daemons change many routes per second, and most of
/// them concern no flow. A change in this time takes effect when a flow's route is a second old.
const PAUSE: Duration = Duration::from_millis(250);

/// The time of the last invalidation.
#[derive(Debug, Default)]
pub struct Invalidation {
    last: Option<Instant>,
}

impl Invalidation {
    /// Makes every flow look up its route again if an event may have changed routes.
    pub async fn note(&mut self, commands: &Commands, event: &Event) {
        let now = Instant::now();
        if !self.is_due(event, now) {
            return;
        }
        match commands.invalidate_routes(event).await {
            Ok(true) => self.last = Some(now),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "a change of routes takes effect with a delay of up to a second");
            }
        }
    }

    fn is_due(&self, event: &Event, now: Instant) -> bool {
        let is_route = matches!(event, Event::RouteChanged | Event::PrefixRouteChanged);
        !is_route || self.last.is_none_or(|last| now >= last + PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_routes_are_limited_and_other_changes_are_not() {
        let now = Instant::now();
        let mut invalidation = Invalidation::default();
        assert!(invalidation.is_due(&Event::RouteChanged, now));
        invalidation.last = Some(now);
        assert!(!invalidation.is_due(&Event::RouteChanged, now + PAUSE / 2));
        assert!(!invalidation.is_due(&Event::PrefixRouteChanged, now + PAUSE / 2));
        assert!(invalidation.is_due(&Event::RuleChanged, now + PAUSE / 2));
        assert!(invalidation.is_due(&Event::Lost, now + PAUSE / 2));
        assert!(invalidation.is_due(&Event::RouteChanged, now + PAUSE));
        assert!(invalidation.is_due(&Event::PrefixRouteChanged, now + PAUSE));
    }
}
