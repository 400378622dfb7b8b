//! Limits, and the use of the flow table.

use std::{collections::BTreeMap, path::Path};

use netpath_common::maps::BYTES_PER_FLOW;

use super::{DumpError, open};
use crate::{
    api::v1,
    datapath::{DatapathError, tables::Tables},
};

/// The flow table, and idle limits in seconds by the names of the settings.
pub type Limits = (v1::Flows, BTreeMap<String, serde_json::Number>);

/// The limits and the use of pinned maps; `maps` is the result of [`super::list`].
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn limits(bpf_dir: &Path, maps: &[v1::MapInfo]) -> Result<Limits, DumpError> {
    Ok(limits_of(&open(bpf_dir)?, maps)?)
}

/// The limits and the use of open maps.
///
/// # Errors
/// If they cannot be read.
pub fn limits_of(tables: &Tables, maps: &[v1::MapInfo]) -> Result<Limits, DatapathError> {
    let config = tables.config()?;
    let table = maps.iter().find(|map| map.name == "flows");
    // Each flow has two entries.
    let flows = |of: fn(&v1::MapInfo) -> u64| table.map_or(0, |map| of(map) / 2);
    let flows = v1::Flows {
        entries: flows(|map| map.entries),
        capacity: flows(|map| map.max_entries),
        half_open_budget: u64::from(config.half_open_mask) + 1,
        per_sandbox_limit: config.flows_per_sandbox.into(),
        bytes_per_flow: BYTES_PER_FLOW,
        top: tables.top()?,
    };
    let timers = config.timers.named().into_iter();
    let timers = timers.filter_map(|(name, limit)| Some((name.to_owned(), seconds(limit)?)));
    Ok((flows, timers.collect()))
}

const SECOND: u64 = 1_000_000_000;

fn seconds(nanoseconds: u64) -> Option<serde_json::Number> {
    if nanoseconds.is_multiple_of(SECOND) {
        Some((nanoseconds / SECOND).into())
    } else {
        serde_json::Number::from_f64(nanoseconds as f64 / SECOND as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_integers() {
        let text = |nanoseconds| seconds(nanoseconds).unwrap().to_string();
        assert_eq!(text(86_400 * SECOND), "86400");
        assert_eq!(text(SECOND / 4), "0.25");
    }
}
