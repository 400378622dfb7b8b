//! Typed handles on the maps; converts types of the model to the map schema.

mod denied;
mod devices;
mod levels;
mod networks;
mod outer;
mod overlay;
mod own_ports;
mod ports;
mod reserved;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::AsFd as _,
    path::Path,
};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError};
use ipnet::IpNet;
use netpath_common::{
    addr::Addr,
    flow::{FlowEntry, FlowKey},
    maps::{
        AddressRecord, Config, Denied, Device, Endpoint, ForwarderKey, HALF_OPEN_BLOCK, Network,
        OuterTuple, Peer, PortKey, PublishedRange, RESERVED_WORDS, Remote, Subnet, Usage,
    },
};

use super::{DatapathError, batch, pins::open_map};
use crate::{
    kernel::link_index,
    plan::{
        own_ports::OwnPortEntry,
        tables::{EndpointEntry, PortEntry, Table},
    },
};
pub(super) use denied::DenyIndex;
pub use devices::{Evictions, SandboxFlows};

/// A key of `allow`, `denied` or `remotes` after its prefix length.
type PrefixData = [u8; 20];

/// The maps that user space accesses.
pub struct Tables {
    config: Array<MapData, Config>,
    devices: HashMap<MapData, u32, Device>,
    endpoints: Array<MapData, Endpoint>,
    networks: HashMap<MapData, u32, Network>,
    addresses: HashMap<MapData, Addr, AddressRecord>,
    subnets: LpmTrie<MapData, [u8; 16], Subnet>,
    ports: HashMap<MapData, PortKey, PublishedRange>,
    /// Another handle of this map: batches need its descriptor.
    ports_map: MapData,
    allow: LpmTrie<MapData, PrefixData, u32>,
    denied: LpmTrie<MapData, PrefixData, Denied>,
    /// Another handle of this map: batches need its descriptor.
    denied_map: MapData,
    forwarders: HashMap<MapData, ForwarderKey, u32>,
    peers: HashMap<MapData, Addr, Peer>,
    remotes: LpmTrie<MapData, PrefixData, Remote>,
    /// Another handle of this map: batches need its descriptor.
    remotes_map: MapData,
    vnis: HashMap<MapData, u32, u32>,
    own_ports: HashMap<MapData, PortKey, PublishedRange>,
    /// Another handle of this map: batches need its descriptor.
    own_ports_map: MapData,
    reserved_ports: Array<MapData, u64>,
    outer_tuples: HashMap<MapData, FlowKey, OuterTuple>,
    /// Another handle of this map: batches need its descriptor.
    outer_tuples_map: MapData,
    usage: Array<MapData, Usage>,
    pub(super) flows: HashMap<MapData, FlowKey, FlowEntry>,
    /// Another handle of this map: batches need its descriptor.
    flows_map: MapData,
    /// Number of elements of the rings of half-open flows.
    half_open_elements: u32,
    /// Capacity of the flow table, in flows.
    capacity: u32,
    /// Slots of endpoints.
    slots: BTreeSet<u32>,
    levels: levels::Levels,
    own_levels: levels::Levels,
    reserved: reserved::Reserved,
    pub(super) denied_index: DenyIndex,
}

/// Reads and writes a planned table in its maps.
pub trait MapTable: Table {
    /// Writes entries.
    ///
    /// # Errors
    /// If an interface is missing or a map cannot be written. The entries before it are written.
    fn write(tables: &mut Tables, list: &[(Self::Key, Self)]) -> Result<(), DatapathError>;

    /// Removes entries; missing ones are skipped.
    ///
    /// # Errors
    /// If a map cannot be written.
    fn delete(tables: &mut Tables, keys: &[Self::Key]) -> Result<(), DatapathError>;

    /// Reads every entry.
    ///
    /// # Errors
    /// If a map cannot be read.
    fn read_all(tables: &Tables) -> Result<BTreeMap<Self::Key, Self>, DatapathError>;

    /// Reads the entries with these keys. This implementation reads every entry of the table.
    ///
    /// # Errors
    /// If a map cannot be read.
    fn read(
        tables: &Tables,
        keys: &BTreeSet<&Self::Key>,
    ) -> Result<BTreeMap<Self::Key, Self>, DatapathError> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut entries = Self::read_all(tables)?;
        entries.retain(|key, _| keys.contains(key));
        Ok(entries)
    }
}

impl Tables {
    /// Writes entries of a table, as [`MapTable::write`] does.
    ///
    /// # Errors
    /// Those of [`MapTable::write`].
    pub fn put<E: MapTable>(&mut self, list: &[(E::Key, E)]) -> Result<(), DatapathError> {
        E::write(self, list)
    }

    /// Removes entries of a table; missing ones are skipped.
    ///
    /// # Errors
    /// Those of [`MapTable::delete`].
    pub fn remove<E: MapTable>(&mut self, keys: &[E::Key]) -> Result<(), DatapathError> {
        E::delete(self, keys)
    }

    /// Every entry of a table.
    ///
    /// # Errors
    /// Those of [`MapTable::read_all`].
    pub fn all<E: MapTable>(&self) -> Result<BTreeMap<E::Key, E>, DatapathError> {
        E::read_all(self)
    }

    /// Opens the pinned maps.
    ///
    /// # Errors
    /// If one is missing or cannot be opened.
    pub(super) fn open(maps: &Path) -> Result<Self, DatapathError> {
        let mut tables = Self {
            config: typed("config", Map::Array(open_map(maps, "config")?))?,
            devices: typed("devices", Map::HashMap(open_map(maps, "devices")?))?,
            endpoints: typed("endpoints", Map::Array(open_map(maps, "endpoints")?))?,
            networks: typed("networks", Map::HashMap(open_map(maps, "networks")?))?,
            addresses: typed("addresses", Map::HashMap(open_map(maps, "addresses")?))?,
            subnets: typed("subnets", Map::LpmTrie(open_map(maps, "subnets")?))?,
            ports: typed("ports", Map::HashMap(open_map(maps, "ports")?))?,
            ports_map: open_map(maps, "ports")?,
            allow: typed("allow", Map::LpmTrie(open_map(maps, "allow")?))?,
            denied: typed("denied", Map::LpmTrie(open_map(maps, "denied")?))?,
            denied_map: open_map(maps, "denied")?,
            forwarders: typed("forwarders", Map::HashMap(open_map(maps, "forwarders")?))?,
            peers: typed("peers", Map::HashMap(open_map(maps, "peers")?))?,
            remotes: typed("remotes", Map::LpmTrie(open_map(maps, "remotes")?))?,
            remotes_map: open_map(maps, "remotes")?,
            vnis: typed("vnis", Map::HashMap(open_map(maps, "vnis")?))?,
            own_ports: typed("own_ports", Map::HashMap(open_map(maps, "own_ports")?))?,
            own_ports_map: open_map(maps, "own_ports")?,
            reserved_ports: typed(
                "reserved_ports",
                Map::Array(open_map(maps, "reserved_ports")?),
            )?,
            outer_tuples: typed(
                "outer_tuples",
                Map::HashMap(open_map(maps, "outer_tuples")?),
            )?,
            outer_tuples_map: open_map(maps, "outer_tuples")?,
            usage: typed("usage", Map::Array(open_map(maps, "usage")?))?,
            flows: typed("flows", Map::HashMap(open_map(maps, "flows")?))?,
            flows_map: open_map(maps, "flows")?,
            half_open_elements: max_entries(maps, "half_open")?.saturating_mul(HALF_OPEN_BLOCK),
            capacity: max_entries(maps, "flows")? / 2,
            slots: BTreeSet::new(),
            levels: levels::Levels::default(),
            own_levels: levels::Levels::default(),
            reserved: reserved::Reserved::default(),
            denied_index: DenyIndex::default(),
        };
        tables.slots = tables.all::<EndpointEntry>()?.into_keys().collect();
        for (key, entry) in tables.all::<PortEntry>()? {
            tables.levels.add(&key);
            if !entry.held_by_engine {
                tables.count_reserved(&key)?;
            }
        }
        for key in tables.all::<OwnPortEntry>()?.into_keys() {
            tables.own_levels.add(&key.ports);
        }
        tables.read_denied()?;
        Ok(tables)
    }

    /// Writes the entries that are derived from endpoints and published ranges again: a daemon that was killed may have
    /// written only some of them.
    pub(super) fn restore(&mut self) -> Result<(), DatapathError> {
        self.write_reserved(0..RESERVED_WORDS)?;
        for (slot, entry) in self.all::<EndpointEntry>()? {
            self.reset_usage(slot, entry.generation)?;
        }
        self.write_levels()?;
        self.write_number_of_denied()
    }

    /// Calls `visit` with every entry of `flows`, as [`batch::for_each`] does.
    pub(super) fn for_each_flow(
        &self,
        visit: impl FnMut(&FlowKey, &FlowEntry),
    ) -> Result<(), DatapathError> {
        batch::for_each(self.flows_map.fd().as_fd(), visit)
            .map_err(syscall("BPF_MAP_LOOKUP_BATCH", "flows"))
    }

    /// The settings of the node.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn config(&self) -> Result<Config, DatapathError> {
        self.config.get(&0, 0).map_err(failed("config"))
    }

    pub(super) fn set_node(
        &mut self,
        change: impl FnOnce(Config) -> Result<Config, DatapathError>,
    ) -> Result<(), DatapathError> {
        let config = change(self.config()?)?;
        self.config.set(0, config, 0).map_err(failed("config"))
    }
}

fn max_entries(maps: &Path, map: &'static str) -> Result<u32, DatapathError> {
    let info = open_map(maps, map)?.info().map_err(failed(map))?;
    Ok(info.max_entries())
}

/// The entries of `keys`, each read by `one`.
fn read_each<K: Ord + Clone, V>(
    keys: &BTreeSet<&K>,
    one: impl Fn(&K) -> Result<Option<V>, DatapathError>,
) -> Result<BTreeMap<K, V>, DatapathError> {
    let mut entries = BTreeMap::new();
    for key in keys {
        if let Some(entry) = one(key)? {
            entries.insert(K::clone(key), entry);
        }
    }
    Ok(entries)
}

fn typed<T>(name: &'static str, map: Map) -> Result<T, DatapathError>
where
    T: TryFrom<Map, Error = MapError>,
{
    map.try_into().map_err(failed(name))
}

fn failed(map: &'static str) -> impl Fn(MapError) -> DatapathError {
    move |source| DatapathError::Map { map, source }
}

fn syscall(call: &'static str, map: &'static str) -> impl Fn(io::Error) -> DatapathError {
    move |source| DatapathError::Syscall {
        call,
        object: format!("map {map}"),
        source,
    }
}

fn index_of(interface: &str) -> Result<u32, DatapathError> {
    link_index(interface).ok_or_else(|| DatapathError::NoInterface(interface.to_owned()))
}

/// Whether the error means that there is no such entry.
fn is_absent(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}

fn absent_is_success(map: &'static str, result: Result<(), MapError>) -> Result<(), DatapathError> {
    match result {
        Err(error) if !is_absent(&error) => Err(failed(map)(error)),
        _ => Ok(()),
    }
}

fn absent_is_none<T>(
    map: &'static str,
    result: Result<T, MapError>,
) -> Result<Option<T>, DatapathError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(map)(error)),
    }
}

/// Length and octets of a prefix in the tries: IPv4 in v4-mapped form.
fn octets_of(prefix: IpNet) -> (u32, [u8; 16]) {
    let extra = if prefix.addr().is_ipv4() { 96 } else { 0 };
    (
        u32::from(prefix.prefix_len()) + extra,
        Addr::from(prefix.network()).octets(),
    )
}

/// The prefix of a trie's key; `None` for an invalid length.
fn prefix_of(length: u32, octets: [u8; 16]) -> Option<IpNet> {
    let addr = Addr::from_octets(octets);
    let length = if addr.is_v4() {
        length.checked_sub(96)?
    } else {
        length
    };
    IpNet::new(addr.ip(), u8::try_from(length).ok()?).ok()
}
