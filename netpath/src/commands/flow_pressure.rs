//! Reports of new flows that were refused because a limit was reached, and of the sandbox with the most flows.

use std::time::{Duration, Instant};

use netpath_common::reason::Reason;

use crate::datapath::read::{Counter, SandboxFlows};

/// Reasons that count refused flows.
const REASONS: [Reason; 3] = [Reason::TableFull, Reason::Quota, Reason::NoPort];

/// Time after the last refusal during which the status reports refusals.
const REPORTED: Duration = Duration::from_secs(60);

/// Shortest time between two warnings in the log.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// The refusals to report.
#[derive(Debug, Default)]
pub struct FlowPressure {
    /// Counters at the last update; `None` before the first one.
    seen: Option<[u64; REASONS.len()]>,
    /// Refusals that the status reports.
    refused: [u64; REASONS.len()],
    /// Time of the update that found the last refusal.
    last: Option<Instant>,
    /// Time of the last warning in the log.
    warned: Option<Instant>,
}

/// Result of an update.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Line for `status`; `None` if no flow was refused recently.
    pub degraded: Option<String>,
    /// Whether the line is to be logged.
    pub warn: bool,
}

impl FlowPressure {
    /// Compares the counters with those of the last update. `top` returns the sandboxes with the most flows, or
    /// `None` if their counts cannot be read. It is called only if there are refusals to report.
    pub fn update(
        &mut self,
        now: Instant,
        counters: &[Counter],
        top: impl FnOnce() -> Option<Vec<SandboxFlows>>,
    ) -> Report {
        let counts = REASONS.map(|reason| {
            let counter = counters.iter().find(|counter| counter.reason == reason);
            counter.map_or(0, |counter| counter.packets)
        });
        // The counters persist when the daemon stops: an earlier daemon has reported earlier refusals.
        let before = self.seen.replace(counts).unwrap_or(counts);
        if self
            .last
            .is_some_and(|last| now.duration_since(last) >= REPORTED)
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
            degraded: Some(self.text(top().as_deref())),
            warn,
        }
    }

    fn text(&self, top: Option<&[SandboxFlows]>) -> String {
        let refused = self.refused.iter().zip(REASONS);
        let refused: Vec<_> = refused
            .filter(|(count, _)| **count > 0)
            .map(|(count, reason)| format!("{} {count} times", reason.name()))
            .collect();
        let largest = match top {
            Some([most, ..]) => format!(
                "sandbox '{}' has the most flows, {}",
                most.sandbox, most.flows
            ),
            Some([]) => "no sandbox has flows".to_owned(),
            None => "the counts of sandboxes cannot be read".to_owned(),
        };
        format!("new flows were refused: {}; {largest}", refused.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(quota: u64, full: u64) -> Vec<Counter> {
        [(Reason::Quota, quota), (Reason::TableFull, full)]
            .into_iter()
            .filter(|(_, packets)| *packets > 0)
            .map(|(reason, packets)| Counter {
                reason,
                packets,
                bytes: 0,
            })
            .collect()
    }

    fn top() -> Option<Vec<SandboxFlows>> {
        let top = [("web", 70), ("db", 3)].map(|(sandbox, flows)| SandboxFlows {
            sandbox: sandbox.to_owned(),
            flows,
        });
        Some(top.into())
    }

    #[test]
    fn refusals_are_reported_for_a_minute_and_logged_once_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pressure = FlowPressure::default();
        let mut update = |seconds, quota, full| {
            let report = pressure.update(at(seconds), &counters(quota, full), top);
            (report.degraded.unwrap_or_default(), report.warn)
        };
        let nothing = (String::new(), false);
        let web = "sandbox 'web' has the most flows, 70";
        assert_eq!(
            update(0, 5, 0),
            nothing,
            "refusals before the daemon started"
        );
        assert_eq!(update(5, 5, 0), nothing);
        assert_eq!(
            update(10, 7, 0),
            (
                format!("new flows were refused: drop_quota 2 times; {web}"),
                true
            )
        );
        assert_eq!(
            update(15, 8, 1),
            (
                format!(
                    "new flows were refused: drop_table_full 1 times, drop_quota 3 times; {web}"
                ),
                false
            )
        );
        assert!(!update(74, 8, 1).0.is_empty(), "still reported");
        assert_eq!(update(75, 8, 1), nothing);
        assert_eq!(
            update(80, 9, 1),
            (
                format!("new flows were refused: drop_quota 1 times; {web}"),
                true
            )
        );
    }

    #[test]
    fn report_without_flows_or_counts_names_no_sandbox() {
        let cases = [
            (Some(Vec::new()), "; no sandbox has flows"),
            (None, "; the counts of sandboxes cannot be read"),
        ];
        for (top, end) in cases {
            let mut pressure = FlowPressure::default();
            pressure.update(Instant::now(), &counters(0, 0), || None);
            let report = pressure.update(Instant::now(), &counters(0, 1), || top);
            let text = report.degraded.unwrap();
            assert!(text.ends_with(end), "{text}");
        }
    }
}
