//! Expiry of flows.
//!
//! A flow has expired if its idle limit has passed, its endpoint was removed, its outer address is no longer an address of
//! the node, its peer outside is denied, the published port that opened it was removed or replaced, or its own port was
//! published (see `publish`).
//! The daemon selects expired flows, and the program `sweep` removes those that no packet has used since. Programs also
//! remove flows themselves when a new flow needs an entry.

use std::collections::HashSet;

use aya::programs::{TestRun as _, TestRunOptions};
use netpath_common::{
    flow::{FlowEntry, FlowKey, ORIGINAL, State, Timers},
    maps::{Config, SWEEP_ALWAYS, SWEEP_BATCH, SWEEP_HEADER, SweepRecord},
};

use crate::plan::tables::EndpointEntry;

use super::{
    Datapath, DatapathError,
    programs::{SWEEP, classifier, refused},
    sys,
    validity::ValidFlows,
};

/// The result of one sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows in the table before the sweep.
    pub flows: u64,
    /// Flows removed.
    pub removed: u64,
}

/// Age in nanoseconds up to which an entry without a reverse entry is a flow that a program is creating.
const CREATION_GRACE: u64 = 1_000_000_000;

impl Datapath {
    /// Removes every expired flow.
    ///
    /// # Errors
    /// If the table cannot be read or the program cannot be run.
    pub fn sweep(&mut self) -> Result<Swept, DatapathError> {
        let timers = self.tables.config()?.timers;
        let mut live: HashSet<(u32, u32)> = self
            .tables
            .all::<EndpointEntry>()?
            .into_iter()
            .map(|(slot, entry)| (slot, entry.generation))
            .collect();
        // Flows of the node itself.
        live.insert((0, 0));
        let now = sys::now();
        let valid = ValidFlows::read(&self.tables, now)?;
        let mut flows = 0;
        let mut candidates = Vec::new();
        self.tables
            .for_each_flow(|key: &FlowKey, entry: &FlowEntry| {
                flows += u64::from(entry.role == ORIGINAL);
                let is_live =
                    live.contains(&(entry.endpoint, entry.generation)) && valid.contain(key, entry);
                // Most flows have not passed even the shortest limit, so their reverse entry need not be looked up.
                if !is_live
                    || now.saturating_sub(entry.last_seen)
                        > shortest_limit(&timers, key.protocol, entry)
                {
                    candidates.push((*key, *entry, is_live));
                }
            })?;
        let records: Vec<_> = candidates
            .iter()
            .filter_map(|(key, entry, is_live)| {
                if !is_live {
                    return Some(SweepRecord {
                        key: *key,
                        last_seen: SWEEP_ALWAYS,
                        reverse_last_seen: 0,
                    });
                }
                let reverse = self.tables.flows.get(&entry.to.reversed(), 0).ok();
                is_idle(&timers, now, key, entry, reverse.as_ref()).then(|| SweepRecord {
                    key: *key,
                    last_seen: entry.last_seen,
                    reverse_last_seen: reverse.map_or(0, |reverse| reverse.last_seen),
                })
            })
            .collect();
        let mut removed = 0;
        for batch in records.chunks(SWEEP_BATCH) {
            removed += self.remove(batch)?;
        }
        self.tables.remove_expired_tuples(now)?;
        self.tables.set_node(|config| {
            Ok(Config {
                swept: now,
                ..config
            })
        })?;
        Ok(Swept { flows, removed })
    }

    /// Makes every flow look up its route again at its next packet.
    ///
    /// # Errors
    /// If the settings of the node cannot be read or written.
    pub fn invalidate_routes(&mut self) -> Result<(), DatapathError> {
        let routes_changed = sys::now();
        self.tables.set_node(|config| {
            Ok(Config {
                routes_changed,
                ..config
            })
        })
    }

    pub(super) fn remove(&mut self, records: &[SweepRecord]) -> Result<u64, DatapathError> {
        let mut packet = vec![0; SWEEP_HEADER];
        for record in records {
            packet.extend_from_slice(bytes_of(record));
        }
        // The kernel reads the ethertype of a test run's packet. This one is reserved for local experiments.
        if let Some(ethertype) = packet.get_mut(12..14) {
            ethertype.copy_from_slice(&[0x88, 0xb5]);
        }
        let options = TestRunOptions {
            data_in: Some(&packet),
            ..TestRunOptions::new()
        };
        let program = classifier(&mut self.ebpf, SWEEP)?;
        let result = program
            .test_run(options)
            .map_err(|source| refused(SWEEP, source))?;
        Ok(u64::from(result.return_value))
    }
}

/// The state of a flow and its idle limit in nanoseconds, from both of its entries.
pub(super) fn limit(
    timers: &Timers,
    protocol: u8,
    entry: &FlowEntry,
    reverse: Option<&FlowEntry>,
) -> (State, u64) {
    let other = reverse.map_or(0, |reverse| reverse.seen);
    let (original, reply) = by_direction(entry, other);
    let state = State::of(protocol, original, reply);
    (state, timers.idle_limit(protocol, state))
}

fn is_idle(
    timers: &Timers,
    now: u64,
    key: &FlowKey,
    entry: &FlowEntry,
    reverse: Option<&FlowEntry>,
) -> bool {
    let Some(reverse) = reverse else {
        return now.saturating_sub(entry.created) > CREATION_GRACE;
    };
    let last = entry.last_seen.max(reverse.last_seen);
    now.saturating_sub(last) > limit(timers, key.protocol, entry, Some(reverse)).1
}

/// The shortest idle limit in nanoseconds that a flow with this entry may have.
fn shortest_limit(timers: &Timers, protocol: u8, entry: &FlowEntry) -> u64 {
    (0..=u8::MAX >> 2)
        .map(|other| {
            let (original, reply) = by_direction(entry, other);
            timers.idle_limit(protocol, State::of(protocol, original, reply))
        })
        .min()
        .unwrap_or_default()
}

/// The seen flags of the original and of the reply direction; `other` are those of the reverse entry.
const fn by_direction(entry: &FlowEntry, other: u8) -> (u8, u8) {
    if entry.role == ORIGINAL {
        (entry.seen, other)
    } else {
        (other, entry.seen)
    }
}

fn bytes_of(record: &SweepRecord) -> &[u8] {
    // SAFETY: `SweepRecord` has no padding (`layout.rs`), so each of its bytes is initialised.
    unsafe { std::slice::from_raw_parts((&raw const *record).cast(), size_of::<SweepRecord>()) }
}
