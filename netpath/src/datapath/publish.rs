//! Publishing of ports that flows use.
//!
//! SNAT does not choose published ports, but a flow may have its port from before. Programs look up the flow first, so the
//! peer of that flow would reach the sandbox that opened it, and not the one that publishes the port. A TCP SYN is
//! distinguished from packets of the flow, so a TCP flow may continue. A UDP packet is not, so UDP flows are removed when
//! the port is published.

use std::os::fd::AsFd as _;

use netpath_common::{
    flow::{FlowKey, Half, Kind, ORIGINAL, UDP},
    maps::{SWEEP_ALWAYS, SWEEP_BATCH, SweepRecord},
};

use super::{Datapath, DatapathError, batch};
use crate::{
    model::Protocol,
    plan::entries::{PortEntry, PortKey},
};

impl Datapath {
    /// Publishes ranges, and removes flows that would receive their packets. Outside of the ports that SNAT may
    /// choose there are no such flows, and none are read.
    ///
    /// # Errors
    /// If a map cannot be read or written, or the program `sweep` cannot be run.
    pub fn publish(&mut self, list: &[(PortKey, PortEntry)]) -> Result<(), DatapathError> {
        // From now on no new flow is given one of these ports.
        self.tables.put_ports(list)?;
        let config = self.tables.config()?;
        let ranges: Vec<_> = list
            .iter()
            .map(|(key, _)| key)
            .filter(|key| {
                key.protocol == Protocol::Udp
                    && key.first <= config.snat_last
                    && key.last >= config.snat_first
            })
            .collect();
        if ranges.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        batch::for_each(
            self.tables.flows_map.fd().as_fd(),
            |key: &FlowKey, half: &Half| {
                if key.protocol == UDP
                    && half.role == ORIGINAL
                    && Kind::from_byte(half.kind) == Some(Kind::Snat)
                    && ranges.iter().any(|range| holds(range, &half.to))
                {
                    records.push(SweepRecord {
                        key: *key,
                        last_seen: SWEEP_ALWAYS,
                        twin_last_seen: 0,
                    });
                }
            },
        )
        .map_err(|source| DatapathError::Syscall {
            call: "BPF_MAP_LOOKUP_BATCH",
            object: "map flows".into(),
            source,
        })?;
        for batch in records.chunks(SWEEP_BATCH) {
            self.remove(batch)?;
        }
        Ok(())
    }
}

/// Whether a range holds for the source of a translated packet.
fn holds(range: &PortKey, to: &FlowKey) -> bool {
    let port = to.sport.get();
    range.first <= port
        && port <= range.last
        && match range.host_ip {
            None => true,
            Some(ip) if ip.is_unspecified() => ip.is_ipv4() == to.src.is_v4(),
            Some(ip) => ip == to.src.ip(),
        }
}
