//! Published ranges, their allow-lists, and the ports that SNAT must leave alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::AsFd as _,
};

use aya::maps::lpm_trie::Key;
use netpath_common::{
    addr::Addr,
    flow::{SCTP, TCP, UDP},
    maps::{Port, PortKey, SNAT_WORDS},
    portmap,
};

use super::{Tables, absent_is_none, absent_is_success, failed, octets_of, prefix_of, syscall};
use crate::{
    datapath::{DatapathError, batch},
    model::Protocol,
    plan::entries::{self, AllowEntry, PortEntry},
};

/// How many ranges stand at each level, for each of exact, family-wide and node-wide addresses.
#[derive(Debug, Default)]
pub(super) struct Levels([[u32; portmap::LEVELS as usize]; 3]);

impl Levels {
    pub(super) fn add(&mut self, key: &entries::PortKey) {
        if let Some(count) = self.place(key) {
            *count += 1;
        }
    }

    fn remove(&mut self, key: &entries::PortKey) {
        if let Some(count) = self.place(key) {
            *count = count.saturating_sub(1);
        }
    }

    /// The levels in use, as masks.
    fn masks(&self) -> [u32; 3] {
        self.0.map(|counts| {
            counts
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .fold(0, |mask, (level, _)| mask | 1 << level)
        })
    }

    fn place(&mut self, key: &entries::PortKey) -> Option<&mut u32> {
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

/// With more ranges than these it is cheaper not to ask which of the others overlap them.
const SINGLE: usize = 8;

impl Tables {
    /// Publishes ranges.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn put_ports(
        &mut self,
        list: &[(entries::PortKey, PortEntry)],
    ) -> Result<(), DatapathError> {
        let keys: Vec<_> = list.iter().map(|(key, _)| port_key(key)).collect();
        let values: Vec<_> = list
            .iter()
            .map(|(key, entry)| port_value(key, entry))
            .collect();
        for (key, _) in list {
            if self.port(key)?.is_none() {
                self.levels.add(key);
            }
        }
        self.set_taken(list.iter().map(|(key, _)| key), true)?;
        // The programs must look at a level before they can be expected to find something there.
        self.write_levels()?;
        batch::update(self.ports_map.fd().as_fd(), &keys, &values)
            .map_err(syscall("update", "ports"))
    }

    /// Withdraws ranges.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn remove_ports(&mut self, list: &[entries::PortKey]) -> Result<(), DatapathError> {
        let mut known = Vec::with_capacity(list.len());
        for key in list {
            if self.port(key)?.is_some() {
                known.push(*key);
            }
        }
        let keys: Vec<_> = known.iter().map(port_key).collect();
        batch::delete(self.ports_map.fd().as_fd(), &keys).map_err(syscall("delete", "ports"))?;
        known.iter().for_each(|key| self.levels.remove(key));
        self.set_taken(known.iter(), false)?;
        // The same port may still be published on another address.
        let remaining = self.ports()?.into_keys();
        let overlaps = |key: &entries::PortKey| {
            let gone = known.iter();
            gone.take(SINGLE).any(|gone| {
                gone.protocol == key.protocol && gone.first <= key.last && key.first <= gone.last
            })
        };
        let many = known.len() > SINGLE;
        let still: Vec<_> = remaining.filter(|key| many || overlaps(key)).collect();
        self.set_taken(still.iter(), true)?;
        self.write_levels()
    }

    /// The published range under a key.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn port(&self, key: &entries::PortKey) -> Result<Option<PortEntry>, DatapathError> {
        let found = absent_is_none("ports", self.ports.get(&port_key(key), 0))?;
        Ok(found
            .filter(|port| (port.first, port.last) == (key.first, key.last))
            .map(port_entry))
    }

    /// Every published range.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn ports(&self) -> Result<BTreeMap<entries::PortKey, PortEntry>, DatapathError> {
        let mut ports = BTreeMap::new();
        batch::for_each(self.ports_map.fd().as_fd(), |key: &PortKey, port: &Port| {
            if let Some(key) = entry_key(key, port) {
                ports.insert(key, port_entry(*port));
            }
        })
        .map_err(syscall("read", "ports"))?;
        Ok(ports)
    }

    /// Lets sources in.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn put_allow(&mut self, list: &BTreeSet<AllowEntry>) -> Result<(), DatapathError> {
        for entry in list {
            self.allow
                .insert(&allow_key(entry), 1, 0)
                .map_err(failed("allow"))?;
        }
        Ok(())
    }

    /// Shuts sources out again.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn remove_allow(&mut self, list: &[AllowEntry]) -> Result<(), DatapathError> {
        for entry in list {
            absent_is_success("allow", self.allow.remove(&allow_key(entry)))?;
        }
        Ok(())
    }

    /// Every source that an allow-list lets in.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn allow(&self) -> Result<BTreeSet<AllowEntry>, DatapathError> {
        let mut allow = BTreeSet::new();
        for item in self.allow.iter() {
            let (key, _) = item.map_err(failed("allow"))?;
            let [a, b, c, d, octets @ ..] = key.data();
            if let Some(prefix) = key
                .prefix_len()
                .checked_sub(32)
                .and_then(|length| prefix_of(length, octets))
            {
                allow.insert(AllowEntry {
                    list: u32::from_ne_bytes([a, b, c, d]),
                    prefix,
                });
            }
        }
        Ok(allow)
    }

    /// Marks ports that SNAT must leave alone, or frees them. Only those inside its range matter.
    fn set_taken<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a entries::PortKey>,
        taken: bool,
    ) -> Result<(), DatapathError> {
        let config = self.config()?;
        let mut words = BTreeMap::new();
        for key in keys {
            let base = match key.protocol {
                Protocol::Tcp => 0,
                Protocol::Udp => SNAT_WORDS,
                Protocol::Sctp => continue,
            };
            for port in key.first.max(config.snat_first)..=key.last.min(config.snat_last) {
                *words.entry(base + u32::from(port >> 6)).or_insert(0_u64) |= 1 << (port & 63);
            }
        }
        for (index, bits) in words {
            let old = self
                .snat_taken
                .get(&index, 0)
                .map_err(failed("snat_taken"))?;
            let new = if taken { old | bits } else { old & !bits };
            self.snat_taken
                .set(index, new, 0)
                .map_err(failed("snat_taken"))?;
        }
        Ok(())
    }

    fn write_levels(&mut self) -> Result<(), DatapathError> {
        let [exact, family, any] = self.levels.masks();
        self.set_node(|mut config| {
            config.exact_levels = exact;
            config.family_levels = family;
            config.any_levels = any;
            Ok(config)
        })
    }
}

fn port_key(key: &entries::PortKey) -> PortKey {
    let addr = match key.host_ip {
        None => PortKey::ANY,
        Some(ip) if !ip.is_unspecified() => Addr::from(ip),
        Some(IpAddr::V4(_)) => PortKey::ANY_V4,
        Some(IpAddr::V6(_)) => PortKey::ANY_V6,
    };
    PortKey::of_range(addr, number_of(key.protocol), key.first, key.last)
}

fn port_value(key: &entries::PortKey, entry: &PortEntry) -> Port {
    Port {
        first: key.first,
        last: key.last,
        target: entry.target,
        pad: 0,
        endpoint: entry.endpoint,
        generation: entry.generation,
        allow: entry.allow,
    }
}

/// The model's key for an entry; `None` for a protocol that the daemon never writes.
pub(in crate::datapath) fn entry_key(key: &PortKey, port: &Port) -> Option<entries::PortKey> {
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
    Some(entries::PortKey {
        protocol,
        host_ip,
        first: port.first,
        last: port.last,
    })
}

const fn port_entry(port: Port) -> PortEntry {
    PortEntry {
        target: port.target,
        endpoint: port.endpoint,
        generation: port.generation,
        allow: port.allow,
    }
}

const fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Sctp => SCTP,
    }
}

fn allow_key(entry: &AllowEntry) -> Key<[u8; 20]> {
    let (length, octets) = octets_of(entry.prefix);
    let mut data = [0; 20];
    let (list, address) = data.split_at_mut(4);
    list.copy_from_slice(&entry.list.to_ne_bytes());
    address.copy_from_slice(&octets);
    Key::new(length + 32, data)
}
