//! Typed rows of the pinned maps. Reads the pins only, so it works while no daemon runs. Changes nothing.

mod flows;
mod fragments;
mod limits;
mod rows;

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use aya::maps::{Map, MapData, MapInfo, PerCpuArray};
use netpath_common::{
    maps::{Count, ICC_OFF, INTERNAL, MASQUERADE, ROUTED},
    reason::Reason,
};

use super::{DatapathError, batch, pins, sys, tables::Tables};
use crate::plan::tables::{AllowEntry, AllowKey, EndpointEntry, NetworkEntry, PortEntry, PortKey};

pub use super::tables::{Evictions, SandboxFlows};
pub use flows::nat;
pub use fragments::fragments;
pub use limits::{flow_table, flow_table_of};
pub use rows::{
    Counter, Endpoint, Flow, FlowTable, FragmentId, Fragments, MapUse, Network, PublishedRange,
    Tuple,
};

/// Why pinned maps cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There are no pins.
    #[error("no pinned maps in {0}; no daemon has used this directory")]
    NoMaps(String),
    /// A map cannot be read.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// Every pinned map.
///
/// # Errors
/// If there are no pins, or they cannot be read.
pub fn list(bpf_dir: &Path) -> Result<Vec<MapUse>, ReadError> {
    let maps = existing(bpf_dir)?;
    let mut names = pins::file_names(&maps)?;
    names.sort_unstable();
    names.iter().map(|name| Ok(info(&maps, name)?)).collect()
}

/// Published ranges.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn ports(bpf_dir: &Path) -> Result<Vec<PublishedRange>, ReadError> {
    let tables = open(bpf_dir)?;
    let endpoints = tables.all::<EndpointEntry>()?;
    let networks = tables.all::<NetworkEntry>()?;
    let mut allow: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for AllowKey { list, prefix } in tables.all::<AllowEntry>()?.into_keys() {
        allow.entry(list).or_default().push(prefix);
    }
    let ports = tables.all::<PortEntry>()?;
    let ports = ports.iter().filter_map(|(key, entry)| {
        let endpoint = endpoints.get(&entry.endpoint)?;
        let allow = allow
            .get(&entry.allow)
            .filter(|_| entry.allow != 0)
            .cloned()
            .unwrap_or_default();
        Some(port(
            key,
            entry,
            endpoint,
            network_name(&networks, endpoint.network),
            allow,
        ))
    });
    Ok(ports.collect())
}

/// Endpoints, by slot.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn endpoints(bpf_dir: &Path) -> Result<Vec<Endpoint>, ReadError> {
    let tables = open(bpf_dir)?;
    let networks = tables.all::<NetworkEntry>()?;
    let row = |(slot, entry): (u32, EndpointEntry)| Endpoint {
        slot,
        generation: entry.generation,
        sandbox: entry.sandbox.to_string(),
        network: network_name(&networks, entry.network),
        interface: entry.host_interface,
        mac: entry.mac,
        addresses: entry.addresses,
        gateways: entry.gateways,
        mtu: entry.mtu,
    };
    Ok(tables
        .all::<EndpointEntry>()?
        .into_iter()
        .map(row)
        .collect())
}

/// Networks, by index.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn networks(bpf_dir: &Path) -> Result<Vec<Network>, ReadError> {
    let row = |(index, entry): (u32, NetworkEntry)| Network {
        index,
        name: entry.name.to_string(),
        bridge: entry.bridge,
        flags: FLAGS
            .iter()
            .filter(|(flag, _)| entry.flags & flag != 0)
            .map(|(_, name)| *name)
            .collect(),
    };
    let networks = open(bpf_dir)?.all::<NetworkEntry>()?;
    Ok(networks.into_iter().map(row).collect())
}

/// Packet counters by reason; reasons without packets are left out.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn counters(bpf_dir: &Path) -> Result<Vec<Counter>, ReadError> {
    let failed = |source| DatapathError::Map {
        map: "counters",
        source,
    };
    let map = pins::open_map(&existing(bpf_dir)?, "counters")?;
    let counts = PerCpuArray::<_, Count>::try_from(Map::PerCpuArray(map)).map_err(failed)?;
    let mut counters = Vec::new();
    for reason in Reason::ALL {
        let values = counts.get(&(*reason as u32), 0).map_err(failed)?;
        let packets = values.iter().map(|count| count.packets).sum();
        if packets > 0 {
            counters.push(Counter {
                reason: *reason,
                packets,
                bytes: values.iter().map(|count| count.bytes).sum(),
            });
        }
    }
    Ok(counters)
}

const FLAGS: [(u32, &str); 4] = [
    (INTERNAL, "internal"),
    (ICC_OFF, "no-icc"),
    (MASQUERADE, "masquerade"),
    (ROUTED, "routed"),
];

fn open(bpf_dir: &Path) -> Result<Tables, ReadError> {
    Ok(Tables::open(&existing(bpf_dir)?)?)
}

fn existing(bpf_dir: &Path) -> Result<std::path::PathBuf, ReadError> {
    let maps = pins::maps_dir(bpf_dir);
    if maps.is_dir() {
        Ok(maps)
    } else {
        Err(ReadError::NoMaps(bpf_dir.display().to_string()))
    }
}

fn network_name(networks: &BTreeMap<u32, NetworkEntry>, index: u32) -> String {
    networks
        .get(&index)
        .map(|network| network.name.to_string())
        .unwrap_or_default()
}

fn port(
    key: &PortKey,
    entry: &PortEntry,
    endpoint: &EndpointEntry,
    network: String,
    allow: Vec<ipnet::IpNet>,
) -> PublishedRange {
    let v6 = key.host_ip.is_some_and(|ip| ip.is_ipv6());
    let container = endpoint
        .addresses
        .iter()
        .find(|ip| ip.is_ipv6() == v6)
        .or(endpoint.addresses.first());
    PublishedRange {
        sandbox: endpoint.sandbox.to_string(),
        network,
        protocol: key.protocol,
        host_ip: key.host_ip,
        host_ports: (key.first, key.last),
        container_ip: container
            .copied()
            .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        addresses: endpoint.addresses.clone(),
        container_port: entry.target,
        allow,
        held_by_engine: entry.held_by_engine,
    }
}

fn info(maps: &Path, name: &str) -> Result<MapUse, DatapathError> {
    let failed = |source| DatapathError::Map {
        map: "pinned",
        source,
    };
    let pin = maps.join(name);
    let info = MapInfo::from_pin(&pin).map_err(failed)?;
    let kind = info.map_type().map_err(failed)?;
    let data = MapData::from_pin(&pin).map_err(failed)?;
    let max_entries = u64::from(info.max_entries());
    let (key_size, value_size) = (info.key_size() as usize, info.value_size() as usize);
    // Every entry of an array exists.
    let (kind, entries) = match kind {
        aya::maps::MapType::Array => ("array", max_entries),
        aya::maps::MapType::PerCpuArray => ("percpu_array", max_entries),
        aya::maps::MapType::Hash => ("hash", batch::count(&data, key_size, value_size)),
        aya::maps::MapType::LruHash => ("lru_hash", batch::count(&data, key_size, value_size)),
        aya::maps::MapType::LpmTrie => ("lpm_trie", batch::count_keys(&data, key_size)),
        _ => ("other", batch::count_keys(&data, key_size)),
    };
    Ok(MapUse {
        name: name.to_owned(),
        kind,
        entries,
        max_entries,
        bytes: sys::memory(&data),
    })
}
