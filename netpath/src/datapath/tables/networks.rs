//! Networks, their subnets, and the owners of addresses.

use std::{collections::BTreeMap, net::IpAddr};

use aya::maps::lpm_trie::Key;
use ipnet::IpNet;
use netpath_common::{
    addr::Addr,
    maps::{AddressOwner, AddressRecord, Network, Subnet, Text},
};

use super::{Tables, absent_is_none, absent_is_success, failed, octets_of, prefix_of};
use crate::{
    datapath::{DatapathError, sys},
    plan::entries::{AddressEntry, NetworkEntry, SubnetEntry},
};

impl Tables {
    /// Writes a network.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn put_network(&mut self, index: u32, entry: &NetworkEntry) -> Result<(), DatapathError> {
        let bridge = sys::ifindex(&entry.bridge).unwrap_or_default();
        let network = Network {
            flags: entry.flags,
            bridge,
            name: Text::new(entry.name.as_str()),
        };
        self.networks
            .insert(index, network, 0)
            .map_err(failed("networks"))
    }

    /// Removes a network.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn remove_network(&mut self, index: u32) -> Result<(), DatapathError> {
        absent_is_success("networks", self.networks.remove(&index))
    }

    /// Every network.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn networks(&self) -> Result<BTreeMap<u32, NetworkEntry>, DatapathError> {
        let mut networks = BTreeMap::new();
        for item in self.networks.iter() {
            let (index, network) = item.map_err(failed("networks"))?;
            if let Ok(name) = network.name.as_str().parse() {
                let bridge = sys::ifname(network.bridge).unwrap_or_default();
                networks.insert(
                    index,
                    NetworkEntry {
                        flags: network.flags,
                        bridge,
                        name,
                    },
                );
            }
        }
        Ok(networks)
    }

    /// Writes addresses.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn put_addresses(&mut self, list: &[(IpAddr, AddressEntry)]) -> Result<(), DatapathError> {
        for (ip, entry) in list {
            let owner = match entry {
                AddressEntry::Gateway => AddressOwner::Gateway,
                AddressEntry::Host => AddressOwner::Host,
                AddressEntry::Endpoint(slot) => AddressOwner::Endpoint(*slot),
            };
            self.addresses
                .insert(Addr::from(*ip), AddressRecord::new(owner), 0)
                .map_err(failed("addresses"))?;
        }
        Ok(())
    }

    /// Removes addresses.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn remove_addresses(&mut self, list: &[IpAddr]) -> Result<(), DatapathError> {
        for ip in list {
            absent_is_success("addresses", self.addresses.remove(&Addr::from(*ip)))?;
        }
        Ok(())
    }

    /// The owner of an address.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn address(&self, ip: IpAddr) -> Result<Option<AddressEntry>, DatapathError> {
        absent_is_none("addresses", self.addresses.get(&Addr::from(ip), 0))
            .map(|found| found.map(address_entry))
    }

    /// Every address.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn addresses(&self) -> Result<BTreeMap<IpAddr, AddressEntry>, DatapathError> {
        let mut addresses = BTreeMap::new();
        for item in self.addresses.iter() {
            let (addr, record) = item.map_err(failed("addresses"))?;
            addresses.insert(addr.ip(), address_entry(record));
        }
        Ok(addresses)
    }

    /// Writes a subnet.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn put_subnet(&mut self, prefix: IpNet, entry: SubnetEntry) -> Result<(), DatapathError> {
        let subnet = Subnet {
            network: entry.network,
            flags: entry.flags,
        };
        self.subnets
            .insert(&subnet_key(prefix), subnet, 0)
            .map_err(failed("subnets"))
    }

    /// Removes a subnet.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn remove_subnet(&mut self, prefix: IpNet) -> Result<(), DatapathError> {
        absent_is_success("subnets", self.subnets.remove(&subnet_key(prefix)))
    }

    /// Every subnet.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn subnets(&self) -> Result<BTreeMap<IpNet, SubnetEntry>, DatapathError> {
        let mut subnets = BTreeMap::new();
        for item in self.subnets.iter() {
            let (key, subnet) = item.map_err(failed("subnets"))?;
            if let Some(prefix) = prefix_of(key.prefix_len(), key.data()) {
                subnets.insert(
                    prefix,
                    SubnetEntry {
                        network: subnet.network,
                        flags: subnet.flags,
                    },
                );
            }
        }
        Ok(subnets)
    }
}

fn subnet_key(prefix: IpNet) -> Key<[u8; 16]> {
    let (length, octets) = octets_of(prefix);
    Key::new(length, octets)
}

const fn address_entry(record: AddressRecord) -> AddressEntry {
    match record.owner() {
        AddressOwner::Endpoint(slot) => AddressEntry::Endpoint(slot),
        AddressOwner::Gateway => AddressEntry::Gateway,
        AddressOwner::Host => AddressEntry::Host,
    }
}
