//! Rows of the pinned maps as wire types: for the daemon, and for a command line that reads the pins without one.

use std::path::Path;

use super::v1;
use crate::datapath::read::{self, ReadError};

/// The rows of one table.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn dump(bpf_dir: &Path, table: v1::MapTable) -> Result<v1::MapDump, ReadError> {
    Ok(match table {
        v1::MapTable::Nat => v1::MapDump::Nat(nat(bpf_dir)?),
        v1::MapTable::Ports => v1::MapDump::Ports(ports(bpf_dir)?),
        v1::MapTable::Endpoints => v1::MapDump::Endpoints(endpoints(bpf_dir)?),
        v1::MapTable::Networks => v1::MapDump::Networks(networks(bpf_dir)?),
        v1::MapTable::Counters => v1::MapDump::Counters(counters(bpf_dir)?),
        v1::MapTable::Fragments => v1::MapDump::Fragments(fragments(bpf_dir)?),
        v1::MapTable::Peers => v1::MapDump::Empty([]),
    })
}

/// Every pinned map, by name.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn maps(bpf_dir: &Path) -> Result<Vec<v1::MapInfo>, ReadError> {
    let maps = read::list(bpf_dir)?;
    Ok(maps.into_iter().map(Into::into).collect())
}

/// Flows in the order of their creation.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn nat(bpf_dir: &Path) -> Result<Vec<v1::NatFlow>, ReadError> {
    let flows = read::nat(bpf_dir)?.into_iter();
    Ok(flows.filter_map(nat_flow).collect())
}

/// Published ranges, by sandbox.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn ports(bpf_dir: &Path) -> Result<Vec<v1::Port>, ReadError> {
    let ports = read::ports(bpf_dir)?.into_iter();
    let mut ports: Vec<_> = ports.map(port).collect();
    ports.sort_unstable();
    Ok(ports)
}

/// Endpoints, by slot.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn endpoints(bpf_dir: &Path) -> Result<Vec<v1::MapEndpoint>, ReadError> {
    let row = |row: read::Endpoint| v1::MapEndpoint {
        slot: row.slot,
        generation: row.generation,
        sandbox: row.sandbox,
        network: row.network,
        interface: row.interface,
        mac: row.mac.to_string(),
        addresses: row.addresses,
        gateways: row.gateways,
        mtu: row.mtu,
    };
    Ok(read::endpoints(bpf_dir)?.into_iter().map(row).collect())
}

/// Networks, by index.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn networks(bpf_dir: &Path) -> Result<Vec<v1::MapNetwork>, ReadError> {
    let row = |row: read::Network| v1::MapNetwork {
        index: row.index,
        name: row.name,
        bridge: row.bridge,
        flags: row.flags.into_iter().map(str::to_owned).collect(),
    };
    Ok(read::networks(bpf_dir)?.into_iter().map(row).collect())
}

/// Packet counters by reason; reasons without packets are left out.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn counters(bpf_dir: &Path) -> Result<Vec<v1::Counter>, ReadError> {
    let row = |row: read::Counter| v1::Counter {
        name: row.reason.name().to_owned(),
        verdict: row.reason.verdict().into(),
        packets: row.packets,
        bytes: row.bytes,
    };
    Ok(read::counters(bpf_dir)?.into_iter().map(row).collect())
}

/// Datagrams whose later fragments are expected.
///
/// # Errors
/// If there are no pinned maps, or they cannot be read.
pub fn fragments(bpf_dir: &Path) -> Result<Vec<v1::Fragmented>, ReadError> {
    let ends = |id: read::FragmentId| v1::FragmentEnds {
        source: id.source,
        destination: id.destination,
        id: id.id,
    };
    let row = |row: read::Fragments| v1::Fragmented {
        protocol: row.protocol,
        original: ends(row.original),
        translated: ends(row.translated),
        sandbox: row.sandbox,
        network: row.network,
        bytes: row.bytes,
        total: row.total,
        age_s: row.age_s,
        expires_s: row.expires_s,
    };
    Ok(read::fragments(bpf_dir)?.into_iter().map(row).collect())
}

fn nat_flow(flow: read::Flow) -> Option<v1::NatFlow> {
    Some(v1::NatFlow {
        protocol: v1::FlowProtocol::from_number(flow.protocol)?,
        kind: flow.kind.into(),
        state: flow.state.name().to_owned(),
        original: tuple(flow.original),
        reply: tuple(flow.reply),
        sandbox: flow.sandbox,
        network: flow.network,
        packets: flow.packets,
        bytes: flow.bytes,
        age_s: flow.age_s,
        expires_s: flow.expires_s,
    })
}

fn tuple(tuple: read::Tuple) -> v1::Tuple {
    v1::Tuple {
        source: tuple.source,
        source_port: tuple.source_port,
        destination: tuple.destination,
        destination_port: tuple.destination_port,
    }
}

fn port(range: read::PublishedRange) -> v1::Port {
    let (first, last) = range.host_ports;
    v1::Port {
        sandbox: range.sandbox,
        network: range.network,
        protocol: range.protocol.into(),
        host_ip: range.host_ip,
        families: v1::AddressFamily::served(range.host_ip, &range.addresses),
        host_port: first,
        host_port_end: last,
        container_ip: range.container_ip,
        container_port: range.container_port,
        container_port_end: range.container_port.saturating_add(last - first),
        allow: range.allow,
        owner: None,
    }
}
