//! Datagrams that arrive in fragments.

use std::{os::fd::AsFd as _, path::Path};

use netpath_common::maps::{FragmentKey, KnownDatagram};

use super::{FragmentId, Fragments, ReadError, existing, network_name, open};
use crate::{
    datapath::{DatapathError, batch, pins, sys},
    plan::tables::{EndpointEntry, NetworkEntry},
};

const SECOND: u64 = 1_000_000_000;

/// Datagrams whose later fragments are expected, in the order of their latest fragment.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn fragments(bpf_dir: &Path) -> Result<Vec<Fragments>, ReadError> {
    let tables = open(bpf_dir)?;
    let endpoints = tables.all::<EndpointEntry>()?;
    let networks = tables.all::<NetworkEntry>()?;
    let limit = tables.config()?.timers.fragment;
    let map = pins::open_map(&existing(bpf_dir)?, "fragments")?;
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
                rows.push(Fragments {
                    protocol: key.src.is_v4().then_some(key.protocol),
                    original: FragmentId {
                        source: key.src.ip(),
                        destination: key.dst.ip(),
                        id: key.id,
                    },
                    translated: FragmentId {
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
