//! Expiry of flows.
//!
//! A flow has expired if it was idle for too long, its endpoint was removed, its outer address is no longer an address of
//! the node, the published port that opened it was withdrawn or replaced, or its own port was published (see `publish`).
//! The daemon nominates flows; the program `sweep` removes those that were not used since. Programs also remove flows,
//! but only where a new flow needs the entry.

use std::{collections::HashSet, os::fd::AsFd as _};

use aya::programs::{TestRun as _, TestRunOptions};
use netpath_common::{
    flow::{FlowKey, Half, ORIGINAL, State, Timers},
    maps::{Config, SWEEP_ALWAYS, SWEEP_BATCH, SWEEP_HEADER, SweepRecord},
};

use super::{
    Datapath, DatapathError, batch,
    ends::Ends,
    load::{SWEEP, classifier, refused},
    sys,
};

/// What one sweep found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows in the table before.
    pub flows: u64,
    /// Flows removed.
    pub removed: u64,
}

/// Age in nanoseconds up to which an entry without its reverse entry is kept: the flow may be under construction.
const HALF_GRACE: u64 = 1_000_000_000;

impl Datapath {
    /// Removes every expired flow.
    ///
    /// # Errors
    /// If the table cannot be read or the program cannot be run.
    pub fn sweep(&mut self) -> Result<Swept, DatapathError> {
        let timers = self.tables.config()?.timers;
        let live: HashSet<(u32, u32)> = self
            .tables
            .endpoints()?
            .into_iter()
            .map(|(slot, entry)| (slot, entry.generation))
            .collect();
        let ends = Ends::of(&self.tables)?;
        let now = sys::now();
        let mut flows = 0;
        let mut candidates = Vec::new();
        batch::for_each(
            self.tables.flows_map.fd().as_fd(),
            |key: &FlowKey, half: &Half| {
                flows += u64::from(half.role == ORIGINAL);
                let is_live =
                    live.contains(&(half.endpoint, half.generation)) && ends.still_hold(key, half);
                // The shortest limit that could apply proves most flows alive without reading their other entry.
                if !is_live
                    || now.saturating_sub(half.last_seen)
                        > shortest_limit(&timers, key.protocol, half)
                {
                    candidates.push((*key, *half, is_live));
                }
            },
        )
        .map_err(|source| DatapathError::Syscall {
            call: "BPF_MAP_LOOKUP_BATCH",
            object: "map flows".into(),
            source,
        })?;
        let records: Vec<_> = candidates
            .iter()
            .filter_map(|(key, half, is_live)| {
                if !is_live {
                    return Some(SweepRecord {
                        key: *key,
                        last_seen: SWEEP_ALWAYS,
                        twin_last_seen: 0,
                    });
                }
                let twin = self.tables.flows.get(&half.to.reversed(), 0).ok();
                is_idle(&timers, now, key, half, twin.as_ref()).then(|| SweepRecord {
                    key: *key,
                    last_seen: half.last_seen,
                    twin_last_seen: twin.map_or(0, |twin| twin.last_seen),
                })
            })
            .collect();
        let mut removed = 0;
        for batch in records.chunks(SWEEP_BATCH) {
            removed += self.remove(batch)?;
        }
        self.tables.set_node(|config| {
            Ok(Config {
                swept: now,
                ..config
            })
        })?;
        Ok(Swept { flows, removed })
    }

    pub(super) fn remove(&mut self, records: &[SweepRecord]) -> Result<u64, DatapathError> {
        let mut packet = vec![0; SWEEP_HEADER];
        for record in records {
            packet.extend_from_slice(bytes_of(record));
        }
        // The stack parses the ethertype of a test run's packet; this one is for local experiments.
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

/// The idle limit of a flow by both its halves' deeds.
pub(super) fn limit(
    timers: &Timers,
    protocol: u8,
    half: &Half,
    twin: Option<&Half>,
) -> (State, u64) {
    let other = twin.map_or(0, |twin| twin.seen);
    let (original, reply) = if half.role == ORIGINAL {
        (half.seen, other)
    } else {
        (other, half.seen)
    };
    let state = State::of(protocol, original, reply);
    (state, timers.idle_limit(protocol, state))
}

fn is_idle(timers: &Timers, now: u64, key: &FlowKey, half: &Half, twin: Option<&Half>) -> bool {
    let Some(twin) = twin else {
        return now.saturating_sub(half.created) > HALF_GRACE;
    };
    let last = half.last_seen.max(twin.last_seen);
    now.saturating_sub(last) > limit(timers, key.protocol, half, Some(twin)).1
}

/// The shortest idle limit of any state that a flow with this entry may have.
fn shortest_limit(timers: &Timers, protocol: u8, half: &Half) -> u64 {
    (0..=u8::MAX >> 3)
        .map(|other| {
            let (original, reply) = if half.role == ORIGINAL {
                (half.seen, other)
            } else {
                (other, half.seen)
            };
            timers.idle_limit(protocol, State::of(protocol, original, reply))
        })
        .min()
        .unwrap_or_default()
}

fn bytes_of(record: &SweepRecord) -> &[u8] {
    // SAFETY: `SweepRecord` has no padding (`layout.rs`), so each of its bytes is initialised.
    unsafe { std::slice::from_raw_parts((&raw const *record).cast(), size_of::<SweepRecord>()) }
}
