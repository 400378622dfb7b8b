//! Sockets of the host that hold published ports.

use std::path::Path;

use super::Finding;
use crate::{
    datapath::read::{self, ReadError},
    kernel::listeners::{self, Published},
};

const NAME: &str = "published_ports";

/// Compares the published ranges in the pinned maps with the sockets of this network namespace.
pub(super) fn check(bpf_dir: &Path) -> Vec<Finding> {
    let published: Vec<_> = match read::ports(bpf_dir) {
        Ok(ranges) => ranges
            .iter()
            .filter(|range| !range.held_by_engine)
            .map(|range| Published {
                protocol: range.protocol,
                host_ip: range.host_ip,
                first: range.host_ports.0,
                last: range.host_ports.1,
            })
            .collect(),
        Err(ReadError::NoMaps(_)) => return vec![Finding::ok(NAME, "no port is published")],
        Err(error) => return vec![Finding::unchecked(NAME, error.to_string(), "run as root")],
    };
    match listeners::conflicts(&published) {
        Err(error) => vec![Finding::unchecked(NAME, error.to_string(), "run as root")],
        Ok(conflicts) if conflicts.is_empty() => vec![Finding::ok(
            NAME,
            format!(
                "no socket of the host holds a published port ({} ranges)",
                published.len()
            ),
        )],
        Ok(conflicts) => conflicts
            .iter()
            .map(|conflict| {
                Finding::warn(
                    NAME,
                    conflict.to_string(),
                    "stop the program, or unpublish the port",
                )
            })
            .collect(),
    }
}
