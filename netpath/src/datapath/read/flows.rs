//! The NAT table.

use std::{collections::HashMap, path::Path};

use netpath_common::{
    addr::{Addr, Be16},
    flow::{FlowEntry, FlowKey, Kind, ORIGINAL},
};

use super::{Flow, ReadError, Tuple, network_name, open};
use crate::{
    datapath::{sweep, sys},
    plan::tables::{EndpointEntry, NetworkEntry},
};

/// Flows in the order of their creation, without flows whose endpoint was removed: they have expired.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn nat(bpf_dir: &Path) -> Result<Vec<Flow>, ReadError> {
    let tables = open(bpf_dir)?;
    let endpoints = tables.all::<EndpointEntry>()?;
    let networks = tables.all::<NetworkEntry>()?;
    let timers = tables.config()?.timers;
    let mut entries = HashMap::new();
    tables.for_each_flow(|key: &FlowKey, entry: &FlowEntry| {
        entries.insert(HashKey::of(key), (*key, *entry));
    })?;
    let now = sys::now();
    let mut flows: Vec<(u64, Flow)> = entries
        .values()
        .filter(|(_, entry)| entry.role == ORIGINAL)
        .filter_map(|(key, flow)| {
            let endpoint = endpoints
                .get(&flow.endpoint)
                .filter(|entry| entry.generation == flow.generation);
            // Slot 0 is the node itself.
            if endpoint.is_none() && flow.endpoint != 0 {
                return None;
            }
            let reply_key = flow.to.reversed();
            let reply = entries
                .get(&HashKey::of(&reply_key))
                .map(|(_, entry)| entry);
            let (state, limit) = sweep::limit(&timers, key.protocol, flow, reply);
            let last = flow.last_seen.max(reply.map_or(0, |reply| reply.last_seen));
            let row = Flow {
                protocol: key.protocol,
                kind: Kind::from_byte(flow.kind)?,
                state,
                original: tuple(key),
                reply: tuple(&reply_key),
                sandbox: endpoint.map(|endpoint| endpoint.sandbox.to_string()),
                network: endpoint
                    .map(|endpoint| network_name(&networks, endpoint.network))
                    .filter(|name| !name.is_empty()),
                packets: [flow.packets, reply.map_or(0, |reply| reply.packets)],
                bytes: [flow.bytes, reply.map_or(0, |reply| reply.bytes)],
                age_s: now.saturating_sub(flow.created) / SECOND,
                expires_s: limit.saturating_sub(now.saturating_sub(last)) / SECOND,
            };
            Some((flow.created, row))
        })
        .collect();
    flows.sort_by_key(|(created, flow)| (*created, flow.original.source_port));
    Ok(flows.into_iter().map(|(_, flow)| flow).collect())
}

const SECOND: u64 = 1_000_000_000;

/// The fields of a [`FlowKey`], which itself does not implement `Hash`.
#[derive(PartialEq, Eq, Hash)]
struct HashKey([u8; 16], [u8; 16], u16, u16, u8);

impl HashKey {
    fn of(key: &FlowKey) -> Self {
        Self(
            key.src.octets(),
            key.dst.octets(),
            key.sport.raw(),
            key.dport.raw(),
            key.protocol,
        )
    }
}

/// For ICMP echo the identifier is the source port, in both directions.
fn tuple(key: &FlowKey) -> Tuple {
    let echo = matches!(
        key.protocol,
        netpath_common::flow::ICMP | netpath_common::flow::ICMPV6
    );
    let port = |port: Be16| port.get();
    let ip = |addr: Addr| addr.ip();
    let (source_port, destination_port) = if echo {
        (port(key.sport).max(port(key.dport)), 0)
    } else {
        (port(key.sport), port(key.dport))
    };
    Tuple {
        source: ip(key.src),
        source_port,
        destination: ip(key.dst),
        destination_port,
    }
}
