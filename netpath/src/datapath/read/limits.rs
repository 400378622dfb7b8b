//! Use and limits of the flow table.

use std::path::Path;

use netpath_common::maps::BYTES_PER_FLOW;

use super::{FlowTable, MapUse, ReadError, open};
use crate::datapath::{DatapathError, tables::Tables};

/// The flow table of the pinned maps; `maps` is the result of [`super::list`].
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn flow_table(bpf_dir: &Path, maps: &[MapUse]) -> Result<FlowTable, ReadError> {
    Ok(flow_table_of(&open(bpf_dir)?, maps)?)
}

/// The flow table of maps that are open.
///
/// # Errors
/// If they cannot be read.
pub fn flow_table_of(tables: &Tables, maps: &[MapUse]) -> Result<FlowTable, DatapathError> {
    let config = tables.config()?;
    let table = maps.iter().find(|map| map.name == "flows");
    // Each flow has two entries.
    let flows = |of: fn(&MapUse) -> u64| table.map_or(0, |map| of(map) / 2);
    Ok(FlowTable {
        entries: flows(|map| map.entries),
        capacity: flows(|map| map.max_entries),
        half_open_budget: u64::from(config.half_open_mask) + 1,
        per_sandbox_limit: config.flows_per_sandbox.into(),
        bytes_per_flow: BYTES_PER_FLOW,
        top: tables.top()?,
        timers: config.timers.named().into_iter().collect(),
    })
}
