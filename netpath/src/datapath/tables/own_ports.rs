//! The ports of endpoints for which host ports are published.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd as _,
};

use netpath_common::maps::{PortKey, PublishedRange};

use super::{
    MapTable, Tables, absent_is_none,
    ports::{entry_key, port_key},
    read_each, syscall,
};
use crate::{
    datapath::{DatapathError, batch},
    plan::own_ports::{OwnPortEntry, OwnPortKey},
};

impl MapTable for OwnPortEntry {
    fn write(tables: &mut Tables, list: &[(OwnPortKey, Self)]) -> Result<(), DatapathError> {
        let keys: Vec<_> = list.iter().map(|(key, _)| map_key(key)).collect();
        let values: Vec<_> = list.iter().map(|(key, entry)| range(key, entry)).collect();
        for (key, _) in list {
            if tables.own_port(key)?.is_none() {
                tables.own_levels.add(&key.ports);
            }
        }
        // A level is enabled before it has entries, so that programs find each entry at once.
        tables.write_levels()?;
        batch::update(tables.own_ports_map.fd().as_fd(), &keys, &values)
            .map_err(syscall("update", "own_ports"))
    }

    fn delete(tables: &mut Tables, keys: &[OwnPortKey]) -> Result<(), DatapathError> {
        let mut known = Vec::with_capacity(keys.len());
        for key in keys {
            if tables.own_port(key)?.is_some() {
                known.push(*key);
            }
        }
        let keys: Vec<_> = known.iter().map(map_key).collect();
        batch::delete(tables.own_ports_map.fd().as_fd(), &keys)
            .map_err(syscall("delete", "own_ports"))?;
        known
            .iter()
            .for_each(|key| tables.own_levels.remove(&key.ports));
        tables.write_levels()
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<OwnPortKey, Self>, DatapathError> {
        let mut found = BTreeMap::new();
        batch::for_each(
            tables.own_ports_map.fd().as_fd(),
            |key: &PortKey, range: &PublishedRange| {
                if let Some(ports) = entry_key(key, range) {
                    let key = OwnPortKey {
                        endpoint: key.endpoint,
                        ports,
                    };
                    found.insert(key, entry(range));
                }
            },
        )
        .map_err(syscall("read", "own_ports"))?;
        Ok(found)
    }

    fn read(
        tables: &Tables,
        keys: &BTreeSet<&OwnPortKey>,
    ) -> Result<BTreeMap<OwnPortKey, Self>, DatapathError> {
        read_each(keys, |key| tables.own_port(key))
    }
}

impl Tables {
    fn own_port(&self, key: &OwnPortKey) -> Result<Option<OwnPortEntry>, DatapathError> {
        let found = absent_is_none("own_ports", self.own_ports.get(&map_key(key), 0))?;
        Ok(found
            .filter(|range| (range.first, range.last) == (key.ports.first, key.ports.last))
            .map(|range| entry(&range)))
    }
}

fn map_key(key: &OwnPortKey) -> PortKey {
    port_key(&key.ports).of_endpoint(key.endpoint)
}

const fn range(key: &OwnPortKey, entry: &OwnPortEntry) -> PublishedRange {
    PublishedRange {
        first: key.ports.first,
        last: key.ports.last,
        port: entry.host_port,
        flags: 0,
        endpoint: key.endpoint,
        generation: entry.generation,
        allow: 0,
    }
}

const fn entry(range: &PublishedRange) -> OwnPortEntry {
    OwnPortEntry {
        host_port: range.port,
        generation: range.generation,
    }
}
