//! The deny list of the node.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    os::fd::AsFd as _,
};

use aya::maps::lpm_trie::Key;
use ipnet::IpNet;
use netpath_common::{
    addr::{Addr, Family},
    maps::{Config, Denied, DeniedKey},
};

use super::{MapTable, Tables, absent_is_none, octets_of, prefix_of, read_each, syscall};
use crate::{
    datapath::{DatapathError, batch},
    plan::denied::DeniedEntry,
};

/// A copy of the map `denied` in memory, to look up the peers of many flows.
#[derive(Debug, Default)]
pub(in crate::datapath) struct DenyIndex {
    entries: HashMap<IpNet, u64>,
    /// Number of entries of each family and prefix length.
    lengths: BTreeMap<(bool, u8), usize>,
}

impl DenyIndex {
    fn insert(&mut self, prefix: IpNet, until: u64) {
        if self.entries.insert(prefix, until).is_none() {
            *self.lengths.entry(length_of(prefix)).or_default() += 1;
        }
    }

    fn remove(&mut self, prefix: IpNet) {
        let length = length_of(prefix);
        if self.entries.remove(&prefix).is_some()
            && let Some(count) = self.lengths.get_mut(&length)
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
    }

    /// Whether an address is denied at a time in coarse monotonic nanoseconds.
    pub fn contains(&self, ip: IpAddr, now: u64) -> bool {
        let family = (ip.is_ipv4(), u8::MIN)..=(ip.is_ipv4(), u8::MAX);
        let longest = self
            .lengths
            .range(family)
            .rev()
            .find_map(|((_, length), _)| {
                let prefix = IpNet::new(ip, *length).ok()?.trunc();
                self.entries.get(&prefix)
            });
        longest.is_some_and(|until| now < *until)
    }
}

impl MapTable for DeniedEntry {
    fn write(tables: &mut Tables, list: &[(IpNet, Self)]) -> Result<(), DatapathError> {
        for (prefix, entry) in list {
            tables.denied_index.insert(*prefix, entry.until);
        }
        // The programs look up addresses as soon as there is an entry.
        tables.write_number_of_denied()?;
        let keys: Vec<_> = list.iter().map(|(prefix, _)| denied_key(*prefix)).collect();
        let values: Vec<_> = list
            .iter()
            .zip(&keys)
            .map(|((_, entry), key)| Denied {
                until: entry.until,
                length: key.length,
                pad: 0,
            })
            .collect();
        batch::update(tables.denied_map.fd().as_fd(), &keys, &values)
            .map_err(syscall("update", "denied"))
    }

    fn delete(tables: &mut Tables, keys: &[IpNet]) -> Result<(), DatapathError> {
        let prefixes: Vec<_> = keys.iter().map(|prefix| denied_key(*prefix)).collect();
        batch::delete(tables.denied_map.fd().as_fd(), &prefixes)
            .map_err(syscall("delete", "denied"))?;
        for prefix in keys {
            tables.denied_index.remove(*prefix);
        }
        tables.write_number_of_denied()
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<IpNet, Self>, DatapathError> {
        let mut denied = BTreeMap::new();
        batch::for_each(
            tables.denied_map.fd().as_fd(),
            |key: &DeniedKey, entry: &Denied| {
                let length = key.length.checked_sub(32);
                let prefix = length.and_then(|length| prefix_of(length, key.address.octets()));
                if let Some(prefix) = prefix {
                    denied.insert(prefix, Self { until: entry.until });
                }
            },
        )
        .map_err(syscall("read", "denied"))?;
        Ok(denied)
    }

    fn read(
        tables: &Tables,
        keys: &BTreeSet<&IpNet>,
    ) -> Result<BTreeMap<IpNet, Self>, DatapathError> {
        read_each(keys, |prefix| {
            let key = denied_key(*prefix);
            let mut data = [0; 20];
            let (family, address) = data.split_at_mut(4);
            family.copy_from_slice(&key.family.to_ne_bytes());
            address.copy_from_slice(&key.address.octets());
            let found = tables.denied.get(&Key::new(key.length, data), 0);
            // A lookup also finds a shorter prefix.
            let found = absent_is_none("denied", found)?.filter(|entry| entry.length == key.length);
            Ok(found.map(|entry| Self { until: entry.until }))
        })
    }
}

impl Tables {
    /// Reads the copy of the map in memory.
    pub(super) fn read_denied(&mut self) -> Result<(), DatapathError> {
        for (prefix, entry) in self.all::<DeniedEntry>()? {
            self.denied_index.insert(prefix, entry.until);
        }
        Ok(())
    }

    /// Writes the number of entries to the settings of the node.
    pub(super) fn write_number_of_denied(&mut self) -> Result<(), DatapathError> {
        let denied = u32::try_from(self.denied_index.entries.len()).unwrap_or(u32::MAX);
        if self.config()?.denied == denied {
            return Ok(());
        }
        self.set_node(|config| Ok(Config { denied, ..config }))
    }
}

fn length_of(prefix: IpNet) -> (bool, u8) {
    (prefix.addr().is_ipv4(), prefix.prefix_len())
}

fn denied_key(prefix: IpNet) -> DeniedKey {
    let (length, octets) = octets_of(prefix);
    let family = if prefix.addr().is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    DeniedKey::new(family, Addr::from_octets(octets), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_prefix_of_the_index_decides() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut index = DenyIndex::default();
        index.insert(net("10.0.0.0/8"), 10);
        index.insert(net("10.1.0.0/16"), 20);
        index.insert(net("::/0"), 30);
        assert!(index.contains(ip("10.1.0.1"), 15));
        assert!(!index.contains(ip("10.2.0.1"), 15));
        assert!(!index.contains(ip("11.0.0.1"), 5), "of the other family");
        assert!(index.contains(ip("2001:db8::1"), 5));
        index.remove(net("10.1.0.0/16"));
        assert!(!index.contains(ip("10.1.0.1"), 15));
        assert!(index.contains(ip("10.1.0.1"), 5));
        index.remove(net("10.1.0.0/16"));
        assert_eq!(index.lengths.len(), 2);
    }
}
