//! Reports of new flows that were refused because a limit was reached, and of flows that were evicted for new ones.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use netpath_common::reason::Reason;

use crate::datapath::read::{Counter, Evictions, SandboxFlows};

/// Reasons that count refused flows.
const REFUSED: [Reason; 3] = [Reason::TableFull, Reason::Quota, Reason::NoPort];
/// Reasons that count evicted flows.
const EVICTED: [Reason; 3] = [
    Reason::EvictedHalfOpen,
    Reason::EvictedTableFull,
    Reason::EvictedQuota,
];

/// Time after the last event during which the status reports events.
const REPORTED: Duration = Duration::from_secs(60);

/// Shortest time between two warnings in the log.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Most sandboxes that a report of evictions names.
const NAMED: usize = 5;

/// The refusals to report.
#[derive(Debug, Default)]
pub struct FlowPressure {
    events: Events,
}

/// The evictions to report.
#[derive(Debug, Default)]
pub struct EvictionPressure {
    events: Events,
    /// Evicted flows by endpoint at the last update; `None` before the first one.
    seen: Option<Evictions>,
    /// Evicted flows that the status reports, by sandbox.
    by_sandbox: BTreeMap<String, u64>,
}

/// Result of an update.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Line for `status`; `None` if there was no event recently.
    pub degraded: Option<String>,
    /// Whether the line is to be logged.
    pub warn: bool,
}

impl Report {
    const NOTHING: Self = Self {
        degraded: None,
        warn: false,
    };
}

/// The events of some reasons.
#[derive(Debug, Default)]
struct Events {
    /// Counters at the last update; `None` before the first one.
    seen: Option<[u64; 3]>,
    /// Events that the status reports.
    reported: [u64; 3],
    /// Time of the update that found the last event.
    last: Option<Instant>,
    /// Time of the last warning in the log.
    warned: Option<Instant>,
}

impl Events {
    /// Compares the counters with those of the last update. Returns whether a line is to be logged; `None` if there was no event
    /// recently.
    fn update(&mut self, now: Instant, reasons: [Reason; 3], counters: &[Counter]) -> Option<bool> {
        let counts = reasons.map(|reason| {
            let counter = counters.iter().find(|counter| counter.reason == reason);
            counter.map_or(0, |counter| counter.packets)
        });
        // The counters persist when the daemon stops: an earlier daemon has reported earlier events.
        let before = self.seen.replace(counts).unwrap_or(counts);
        if self
            .last
            .is_some_and(|last| now.duration_since(last) >= REPORTED)
        {
            self.last = None;
            self.reported = [0; 3];
        }
        let mut rose = false;
        for ((reported, count), before) in self.reported.iter_mut().zip(counts).zip(before) {
            rose |= count > before;
            *reported += count.saturating_sub(before);
        }
        if rose {
            self.last = Some(now);
        }
        self.last?;
        let warn = rose
            && self
                .warned
                .is_none_or(|warned| now.duration_since(warned) >= BETWEEN_WARNINGS);
        if warn {
            self.warned = Some(now);
        }
        Some(warn)
    }

    fn text(&self, reasons: [Reason; 3]) -> String {
        let counts = self.reported.iter().zip(reasons);
        let counts: Vec<_> = counts
            .filter(|(count, _)| **count > 0)
            .map(|(count, reason)| format!("{} {count} times", reason.name()))
            .collect();
        counts.join(", ")
    }
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
        let Some(warn) = self.events.update(now, REFUSED, counters) else {
            return Report::NOTHING;
        };
        let largest = match top().as_deref() {
            Some([most, ..]) => format!(
                "sandbox '{}' has the most flows, {}",
                most.sandbox, most.flows
            ),
            Some([]) => "no sandbox has flows".to_owned(),
            None => "the counts of sandboxes cannot be read".to_owned(),
        };
        let refused = self.events.text(REFUSED);
        Report {
            degraded: Some(format!("new flows were refused: {refused}; {largest}")),
            warn,
        }
    }
}

impl EvictionPressure {
    /// Compares the counters, and the evicted flows by endpoint, with those of the last update.
    pub fn update(&mut self, now: Instant, counters: &[Counter], evictions: Evictions) -> Report {
        let warn = self.events.update(now, EVICTED, counters);
        if let Some(before) = &self.seen {
            for (endpoint, (sandbox, count)) in &evictions {
                // The evictions of an endpoint that is new are all recent.
                let before = before.get(endpoint).map_or(0, |(_, count)| *count);
                if *count != before {
                    let reported = self.by_sandbox.entry(sandbox.clone()).or_default();
                    *reported += count.saturating_sub(before);
                }
            }
        }
        self.seen = Some(evictions);
        let Some(warn) = warn else {
            self.by_sandbox.clear();
            return Report::NOTHING;
        };
        let mut sandboxes: Vec<_> = self.by_sandbox.iter().collect();
        sandboxes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let more = sandboxes.len().saturating_sub(NAMED);
        sandboxes.truncate(NAMED);
        let mut names: Vec<_> = sandboxes
            .iter()
            .map(|(sandbox, count)| format!("{count} of sandbox '{sandbox}'"))
            .collect();
        if more > 0 {
            names.push(format!("others of {more} more sandboxes"));
        }
        let of = if names.is_empty() {
            "of sandboxes that were removed".to_owned()
        } else {
            names.join(", ")
        };
        let evicted = self.events.text(EVICTED);
        Report {
            degraded: Some(format!("flows were evicted for new ones: {evicted}; {of}")),
            warn,
        }
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

    #[test]
    fn evictions_are_reported_with_their_sandboxes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let counters = |half_open, full| {
            let counts = [
                (Reason::EvictedHalfOpen, half_open),
                (Reason::EvictedTableFull, full),
            ];
            counts.map(|(reason, packets)| Counter {
                reason,
                packets,
                bytes: 0,
            })
        };
        let evictions = |web: u64, db: u64| -> Evictions {
            [
                ((1, 1), ("web".to_owned(), web)),
                ((2, 2), ("db".to_owned(), db)),
            ]
            .into()
        };
        let mut pressure = EvictionPressure::default();
        let mut update = |seconds, (half_open, full), (web, db)| {
            let report =
                pressure.update(at(seconds), &counters(half_open, full), evictions(web, db));
            (report.degraded.unwrap_or_default(), report.warn)
        };
        let nothing = (String::new(), false);
        assert_eq!(
            update(0, (9, 1), (10, 0)),
            nothing,
            "before the daemon started"
        );
        assert_eq!(
            update(5, (12, 1), (13, 0)),
            (
                "flows were evicted for new ones: evicted_half_open 3 times; 3 of sandbox 'web'"
                    .to_owned(),
                true
            )
        );
        assert_eq!(
            update(10, (12, 6), (14, 4)),
            (
                "flows were evicted for new ones: evicted_half_open 3 times, evicted_table_full 5 times; 4 of sandbox \
                 'db', 4 of sandbox 'web'"
                    .to_owned(),
                false
            )
        );
        assert_eq!(update(75, (12, 6), (14, 4)), nothing);
    }
}
