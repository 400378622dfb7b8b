//! Published ranges, and their allow-lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::AsFd as _,
};

use aya::maps::lpm_trie::Key;
use netpath_common::{
    addr::Addr,
    flow::{SCTP, TCP, UDP},
    maps::{PortKey, PublishedRange},
};

use super::{
    MapTable, Tables, absent_is_none, absent_is_success, failed, octets_of, prefix_of, read_each,
    syscall,
};
use crate::{
    datapath::{DatapathError, batch},
    model::Protocol,
    plan::tables::{self, AllowEntry, AllowKey, PortEntry},
};

impl MapTable for PortEntry {
    fn write(tables: &mut Tables, list: &[(tables::PortKey, Self)]) -> Result<(), DatapathError> {
        let keys: Vec<_> = list.iter().map(|(key, _)| port_key(key)).collect();
        let values: Vec<_> = list
            .iter()
            .map(|(key, entry)| published_range(key, entry))
            .collect();
        let (mut reserved, mut released) = (Vec::new(), Vec::new());
        for (key, entry) in list {
            if tables.port(key)?.is_none() {
                tables.levels.add(key);
            }
            if entry.held_by_engine {
                released.push(*key);
            } else {
                reserved.push(*key);
            }
        }
        // Reserved first: no socket can be bound to a published port.
        tables.reserve(&reserved)?;
        tables.release(&released)?;
        // A level is enabled before it has entries, so that programs find each entry at once.
        tables.write_levels()?;
        batch::update(tables.ports_map.fd().as_fd(), &keys, &values)
            .map_err(syscall("update", "ports"))
    }

    fn delete(tables: &mut Tables, keys: &[tables::PortKey]) -> Result<(), DatapathError> {
        let mut known = Vec::with_capacity(keys.len());
        for key in keys {
            if tables.port(key)?.is_some() {
                known.push(*key);
            }
        }
        let keys: Vec<_> = known.iter().map(port_key).collect();
        batch::delete(tables.ports_map.fd().as_fd(), &keys).map_err(syscall("delete", "ports"))?;
        known.iter().for_each(|key| tables.levels.remove(key));
        tables.release(&known)?;
        tables.write_levels()
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<tables::PortKey, Self>, DatapathError> {
        let mut ports = BTreeMap::new();
        batch::for_each(
            tables.ports_map.fd().as_fd(),
            |key: &PortKey, range: &PublishedRange| {
                if let Some(key) = entry_key(key, range) {
                    ports.insert(key, port_entry(range));
                }
            },
        )
        .map_err(syscall("read", "ports"))?;
        Ok(ports)
    }

    fn read(
        tables: &Tables,
        keys: &BTreeSet<&tables::PortKey>,
    ) -> Result<BTreeMap<tables::PortKey, Self>, DatapathError> {
        read_each(keys, |key| tables.port(key))
    }
}

impl MapTable for AllowEntry {
    fn write(tables: &mut Tables, list: &[(AllowKey, Self)]) -> Result<(), DatapathError> {
        for (key, _) in list {
            let written = tables.allow.insert(&allow_key(key), 1, 0);
            written.map_err(failed("allow"))?;
        }
        Ok(())
    }

    fn delete(tables: &mut Tables, keys: &[AllowKey]) -> Result<(), DatapathError> {
        let mut keys = keys.iter().map(allow_key);
        keys.try_for_each(|key| absent_is_success("allow", tables.allow.remove(&key)))
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<AllowKey, Self>, DatapathError> {
        let mut allow = BTreeMap::new();
        for item in tables.allow.iter() {
            let (key, _) = item.map_err(failed("allow"))?;
            let [a, b, c, d, octets @ ..] = key.data();
            let length = key.prefix_len().checked_sub(32);
            if let Some(prefix) = length.and_then(|length| prefix_of(length, octets)) {
                let list = u32::from_ne_bytes([a, b, c, d]);
                allow.insert(AllowKey { list, prefix }, Self);
            }
        }
        Ok(allow)
    }
}

impl Tables {
    /// The published range under a key.
    fn port(&self, key: &tables::PortKey) -> Result<Option<PortEntry>, DatapathError> {
        let found = absent_is_none("ports", self.ports.get(&port_key(key), 0))?;
        Ok(found
            .filter(|range| (range.first, range.last) == (key.first, key.last))
            .map(|range| port_entry(&range)))
    }

    pub(super) fn write_levels(&mut self) -> Result<(), DatapathError> {
        let [exact, family, any] = self.levels.masks();
        let [own_exact, own_family, own_any] = self.own_levels.masks();
        self.set_node(|mut config| {
            config.exact_levels = exact;
            config.family_levels = family;
            config.any_levels = any;
            config.own_exact_levels = own_exact;
            config.own_family_levels = own_family;
            config.own_any_levels = own_any;
            Ok(config)
        })
    }
}

pub(super) fn port_key(key: &tables::PortKey) -> PortKey {
    let addr = match key.host_ip {
        None => PortKey::ANY,
        Some(ip) if !ip.is_unspecified() => Addr::from(ip),
        Some(IpAddr::V4(_)) => PortKey::ANY_V4,
        Some(IpAddr::V6(_)) => PortKey::ANY_V6,
    };
    PortKey::of_range(addr, key.protocol.number(), key.first, key.last)
}

fn published_range(key: &tables::PortKey, entry: &PortEntry) -> PublishedRange {
    PublishedRange {
        first: key.first,
        last: key.last,
        port: entry.target,
        flags: if entry.held_by_engine {
            PublishedRange::HELD_BY_ENGINE
        } else {
            0
        },
        endpoint: entry.endpoint,
        generation: entry.generation,
        allow: entry.allow,
    }
}

/// The plan's key for an entry; `None` for a protocol that the daemon never writes.
pub(in crate::datapath) fn entry_key(
    key: &PortKey,
    range: &PublishedRange,
) -> Option<tables::PortKey> {
    let protocol = match key.protocol {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        SCTP => Protocol::Sctp,
        _ => return None,
    };
    let host_ip = if key.addr == PortKey::ANY {
        None
    } else if key.addr == PortKey::ANY_V6 {
        Some(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED))
    } else {
        Some(key.addr.ip())
    };
    Some(tables::PortKey {
        protocol,
        host_ip,
        first: range.first,
        last: range.last,
    })
}

const fn port_entry(range: &PublishedRange) -> PortEntry {
    PortEntry {
        target: range.port,
        endpoint: range.endpoint,
        generation: range.generation,
        allow: range.allow,
        held_by_engine: range.flags & PublishedRange::HELD_BY_ENGINE != 0,
    }
}

fn allow_key(key: &AllowKey) -> Key<[u8; 20]> {
    let (length, octets) = octets_of(key.prefix);
    let mut data = [0; 20];
    let (list, address) = data.split_at_mut(4);
    list.copy_from_slice(&key.list.to_ne_bytes());
    address.copy_from_slice(&octets);
    Key::new(length + 32, data)
}
