//! Ports that are published while flows use them.
//!
//! SNAT does not use published ports, but a flow may use a port that is published later. The programs look up the flow first,
//! so datagrams of the flow's peer to the published port would reach the sandbox that opened the flow. Such UDP flows are
//! removed when the port is published. TCP flows are not removed: a SYN to the port is recognised as a connection to the published port.

use netpath_common::{
    flow::{FlowEntry, FlowKey, Kind, ORIGINAL, UDP},
    maps::{SWEEP_ALWAYS, SWEEP_BATCH, SweepRecord},
};

use super::{Datapath, DatapathError};
use crate::{
    model::Protocol,
    plan::tables::{PortEntry, PortKey},
};

impl Datapath {
    /// Removes the UDP flows that use ports of these ranges, which are published. The table of flows is read only if one of the
    /// ranges is of UDP.
    ///
    /// # Errors
    /// If a map cannot be read or written, or the program `sweep` cannot be run.
    pub fn remove_flows_of(&mut self, list: &[(PortKey, PortEntry)]) -> Result<(), DatapathError> {
        let ranges: Vec<_> = list
            .iter()
            .map(|(key, _)| key)
            .filter(|key| key.protocol == Protocol::Udp)
            .collect();
        if ranges.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        self.tables
            .for_each_flow(|key: &FlowKey, entry: &FlowEntry| {
                if key.protocol == UDP
                    && entry.role == ORIGINAL
                    && Kind::from_byte(entry.kind) == Some(Kind::Snat)
                    && ranges.iter().any(|range| contains(range, &entry.to))
                {
                    records.push(SweepRecord {
                        key: *key,
                        last_seen: SWEEP_ALWAYS,
                        reverse_last_seen: 0,
                    });
                }
            })?;
        for batch in records.chunks(SWEEP_BATCH) {
            self.remove(batch)?;
        }
        Ok(())
    }
}

/// Whether a range contains the source of a translated packet.
fn contains(range: &PortKey, to: &FlowKey) -> bool {
    let port = to.sport.get();
    range.first <= port
        && port <= range.last
        && match range.host_ip {
            None => true,
            Some(ip) if ip.is_unspecified() => ip.is_ipv4() == to.src.is_v4(),
            Some(ip) => ip == to.src.ip(),
        }
}
