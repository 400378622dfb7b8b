//! Fragmented datagrams.

use std::{os::fd::AsFd as _, path::Path};

use netpath_common::maps::{FragmentKey, KnownDatagram};

use super::{DumpError, existing, network_name, open};
use crate::{
    api::v1::{self, FragmentEnds},
    datapath::{DatapathError, batch, load, sys},
};

const SECOND: u64 = 1_000_000_000;

/// Translated datagrams whose later fragments have not all passed, the oldest first.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn fragments(bpf_dir: &Path) -> Result<Vec<v1::Fragmented>, DumpError> {
    let tables = open(bpf_dir)?;
    let endpoints = tables.endpoints()?;
    let networks = tables.networks()?;
    let limit = tables.config()?.timers.fragment;
    let map = load::open(&existing(bpf_dir)?, "fragments")?;
    let now = sys::now();
    let mut rows = Vec::new();
    batch::for_each(
        map.fd().as_fd(),
        |key: &FragmentKey, entry: &KnownDatagram| {
            let age = now.saturating_sub(entry.last_seen);
            let endpoint = endpoints
                .get(&entry.endpoint)
                .filter(|endpoint| endpoint.generation == entry.generation && age <= limit);
            if let Some(endpoint) = endpoint {
                rows.push(v1::Fragmented {
                    protocol: key.src.is_v4().then_some(key.protocol),
                    original: FragmentEnds {
                        source: key.src.ip(),
                        destination: key.dst.ip(),
                        id: key.id,
                    },
                    translated: FragmentEnds {
                        source: entry.to.src.ip(),
                        destination: entry.to.dst.ip(),
                        id: if key.src.is_v4() {
                            entry.id & 0xffff
                        } else {
                            entry.id
                        },
                    },
                    sandbox: endpoint.sandbox.to_string(),
                    network: network_name(&networks, endpoint.network),
                    bytes: u64::from(entry.bytes),
                    total: (entry.total != 0).then_some(u64::from(entry.total)),
                    age_s: age / SECOND,
                    expires_s: (limit - age) / SECOND,
                });
            }
        },
    )
    .map_err(|source| DatapathError::Syscall {
        call: "BPF_MAP_LOOKUP_BATCH",
        object: "map fragments".into(),
        source,
    })?;
    rows.sort_by_key(|row| (std::cmp::Reverse(row.age_s), row.original.id));
    Ok(rows)
}
