//! New flows that were refused, and the sandbox that is most likely to blame.

use std::time::{Duration, Instant};

use netpath_common::reason::Reason;

use crate::api::v1;

/// Why a new flow is refused for want of room.
const REASONS: [Reason; 3] = [Reason::TableFull, Reason::Quota, Reason::NoPort];

/// It is told for so long after the last refusal.
const TOLD: Duration = Duration::from_secs(60);

/// Shortest time between two warnings in the log.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Refusals as they were seen last.
#[derive(Debug, Default)]
pub struct Exhaustion {
    /// Counters at the last look; `None` before the first one.
    seen: Option<[u64; REASONS.len()]>,
    /// Refusals since there were none for a while, and when the last ones were seen.
    refused: [u64; REASONS.len()],
    last: Option<Instant>,
    warned: Option<Instant>,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// For `status`; `None` if nothing was refused of late.
    pub degraded: Option<String>,
    /// It belongs in the log now.
    pub warn: bool,
}

impl Exhaustion {
    /// Looks at the counters. `top` are the sandboxes with most flows, asked for only if something was refused.
    pub fn look(
        &mut self,
        now: Instant,
        counters: &[v1::Counter],
        top: impl FnOnce() -> Vec<v1::SandboxFlows>,
    ) -> Report {
        let counts = REASONS.map(|reason| {
            let counter = counters
                .iter()
                .find(|counter| counter.name == reason.name());
            counter.map_or(0, |counter| counter.packets)
        });
        // The counters outlive the daemon: what was before it was told by another one.
        let before = self.seen.replace(counts).unwrap_or(counts);
        if self
            .last
            .is_some_and(|last| now.duration_since(last) >= TOLD)
        {
            self.last = None;
            self.refused = [0; REASONS.len()];
        }
        let mut rose = false;
        for ((refused, count), before) in self.refused.iter_mut().zip(counts).zip(before) {
            rose |= count > before;
            *refused += count.saturating_sub(before);
        }
        if rose {
            self.last = Some(now);
        }
        if self.last.is_none() {
            return Report {
                degraded: None,
                warn: false,
            };
        }
        let warn = rose
            && self
                .warned
                .is_none_or(|warned| now.duration_since(warned) >= BETWEEN_WARNINGS);
        if warn {
            self.warned = Some(now);
        }
        Report {
            degraded: Some(self.text(&top())),
            warn,
        }
    }

    fn text(&self, top: &[v1::SandboxFlows]) -> String {
        let refused = self.refused.iter().zip(REASONS);
        let refused: Vec<_> = refused
            .filter(|(count, _)| **count > 0)
            .map(|(count, reason)| format!("{} {count} times", reason.name()))
            .collect();
        let culprit = match top.first() {
            Some(most) => format!("sandbox '{}' has most flows, {}", most.sandbox, most.flows),
            None => "no sandbox has flows".to_owned(),
        };
        format!("new flows were refused: {}; {culprit}", refused.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(quota: u64, full: u64) -> Vec<v1::Counter> {
        [(Reason::Quota, quota), (Reason::TableFull, full)]
            .into_iter()
            .filter(|(_, packets)| *packets > 0)
            .map(|(reason, packets)| v1::Counter {
                name: reason.name().to_owned(),
                verdict: reason.verdict().into(),
                packets,
                bytes: 0,
            })
            .collect()
    }

    fn top() -> Vec<v1::SandboxFlows> {
        [("web", 70), ("db", 3)]
            .map(|(sandbox, flows)| v1::SandboxFlows {
                sandbox: sandbox.to_owned(),
                flows,
            })
            .into()
    }

    #[test]
    fn refusals_are_told_for_a_while_and_logged_once_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut exhaustion = Exhaustion::default();
        let mut look = |seconds, quota, full| {
            let report = exhaustion.look(at(seconds), &counters(quota, full), top);
            (report.degraded.unwrap_or_default(), report.warn)
        };
        let nothing = (String::new(), false);
        let web = "sandbox 'web' has most flows, 70";
        assert_eq!(look(0, 5, 0), nothing, "before the daemon");
        assert_eq!(look(5, 5, 0), nothing);
        assert_eq!(
            look(10, 7, 0),
            (
                format!("new flows were refused: drop_quota 2 times; {web}"),
                true
            )
        );
        assert_eq!(
            look(15, 8, 1),
            (
                format!(
                    "new flows were refused: drop_table_full 1 times, drop_quota 3 times; {web}"
                ),
                false
            )
        );
        assert!(!look(74, 8, 1).0.is_empty(), "still told");
        assert_eq!(look(75, 8, 1), nothing);
        assert_eq!(
            look(80, 9, 1),
            (
                format!("new flows were refused: drop_quota 1 times; {web}"),
                true
            )
        );
    }

    #[test]
    fn nobody_is_blamed_without_flows() {
        let mut exhaustion = Exhaustion::default();
        exhaustion.look(Instant::now(), &counters(0, 0), Vec::new);
        let report = exhaustion.look(Instant::now(), &counters(0, 1), Vec::new);
        let text = report.degraded.unwrap();
        assert!(text.ends_with("; no sandbox has flows"), "{text}");
    }
}
