//! Published ranges, their allow-lists, and the ports that SNAT must not choose.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
    os::fd::AsFd as _,
};

use aya::maps::lpm_trie::Key;
use netpath_common::{
    addr::Addr,
    flow::{SCTP, TCP, UDP},
    maps::{PortKey, PublishedRange},
    portmap,
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

/// Number of ranges at each level, for exact, family-wide and node-wide addresses.
#[derive(Debug, Default)]
pub(super) struct Levels([[u32; portmap::LEVELS as usize]; 3]);

impl Levels {
    pub(super) fn add(&mut self, key: &tables::PortKey) {
        if let Some(count) = self.place(key) {
            *count += 1;
        }
    }

    fn remove(&mut self, key: &tables::PortKey) {
        if let Some(count) = self.place(key) {
            *count = count.saturating_sub(1);
        }
    }

    /// The levels in use, as bit masks.
    fn masks(&self) -> [u32; 3] {
        self.0.map(|counts| {
            counts
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .fold(0, |mask, (level, _)| mask | 1 << level)
        })
    }

    fn place(&mut self, key: &tables::PortKey) -> Option<&mut u32> {
        let class = match key.host_ip {
            Some(ip) if !ip.is_unspecified() => 0,
            Some(_) => 1,
            None => 2,
        };
        self.0
            .get_mut(class)?
            .get_mut(usize::from(portmap::level(key.first, key.last)))
    }
}

/// Number of ranges that contain each port, of TCP and then of UDP: a port may be in several ranges.
#[derive(Debug)]
pub(super) struct Taken(Vec<u16>);

impl Default for Taken {
    fn default() -> Self {
        Self(vec![0; 2 * (usize::from(u16::MAX) + 1)])
    }
}

impl Taken {
    /// Counts a range that is published (`taken`) or removed. Returns the words of the bitmap that change.
    pub(super) fn change(&mut self, key: &tables::PortKey, taken: bool) -> RangeInclusive<u32> {
        let base = match key.protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => usize::from(u16::MAX) + 1,
            // SCTP is not translated: no word changes.
            Protocol::Sctp => return RangeInclusive::new(1, 0),
        };
        let (first, last) = (base + usize::from(key.first), base + usize::from(key.last));
        for count in self.0.get_mut(first..=last).unwrap_or_default() {
            *count = if taken {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            };
        }
        (first as u32 >> 6)..=(last as u32 >> 6)
    }

    /// A word of the bitmap: 64 ports.
    fn word(&self, index: u32) -> u64 {
        let first = index as usize * 64;
        let counts = self.0.get(first..first + 64).unwrap_or_default();
        counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .fold(0, |word, (bit, _)| word | 1 << bit)
    }
}

impl MapTable for PortEntry {
    fn write(tables: &mut Tables, list: &[(tables::PortKey, Self)]) -> Result<(), DatapathError> {
        let keys: Vec<_> = list.iter().map(|(key, _)| port_key(key)).collect();
        let values: Vec<_> = list
            .iter()
            .map(|(key, entry)| published_range(key, entry))
            .collect();
        let mut new = Vec::new();
        for (key, _) in list {
            if tables.port(key)?.is_none() {
                tables.levels.add(key);
                new.push(*key);
            }
        }
        tables.set_taken(new.iter(), true)?;
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
        tables.set_taken(known.iter(), false)?;
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

    /// Updates the ports that SNAT must not choose because of these ranges.
    fn set_taken<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a tables::PortKey>,
        taken: bool,
    ) -> Result<(), DatapathError> {
        for index in keys
            .flat_map(|key| self.taken.change(key, taken))
            .collect::<BTreeSet<_>>()
        {
            self.write_taken(index)?;
        }
        Ok(())
    }

    pub(super) fn write_taken(&mut self, index: u32) -> Result<(), DatapathError> {
        let word = self.taken.word(index);
        let set = self.snat_taken.set(index, word, 0);
        set.map_err(failed("snat_taken"))
    }

    pub(super) fn write_levels(&mut self) -> Result<(), DatapathError> {
        let [exact, family, any] = self.levels.masks();
        self.set_node(|mut config| {
            config.exact_levels = exact;
            config.family_levels = family;
            config.any_levels = any;
            Ok(config)
        })
    }
}

fn port_key(key: &tables::PortKey) -> PortKey {
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
        pad: 0,
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
