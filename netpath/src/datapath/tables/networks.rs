//! Networks, their subnets, and the owners of addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::maps::lpm_trie::Key;
use ipnet::IpNet;
use netpath_common::{
    addr::Addr,
    maps::{AddressOwner, AddressRecord, Network, Subnet, Text},
};

use super::{
    MapTable, Tables, absent_is_none, absent_is_success, failed, octets_of, prefix_of, read_each,
};
use crate::{
    datapath::{DatapathError, sys},
    kernel::link_index,
    plan::tables::{AddressEntry, NetworkEntry, SubnetEntry},
};

impl MapTable for NetworkEntry {
    fn write(tables: &mut Tables, list: &[(u32, Self)]) -> Result<(), DatapathError> {
        for (index, entry) in list {
            let network = Network {
                flags: entry.flags,
                bridge: link_index(&entry.bridge).unwrap_or_default(),
                vni: entry.vni,
                name: Text::new(entry.name.as_str()),
            };
            let written = tables.networks.insert(index, network, 0);
            written.map_err(failed("networks"))?;
        }
        Ok(())
    }

    fn delete(tables: &mut Tables, keys: &[u32]) -> Result<(), DatapathError> {
        let mut keys = keys.iter();
        keys.try_for_each(|index| absent_is_success("networks", tables.networks.remove(index)))
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<u32, Self>, DatapathError> {
        let mut networks = BTreeMap::new();
        for item in tables.networks.iter() {
            let (index, network) = item.map_err(failed("networks"))?;
            if let Ok(name) = network.name.as_str().parse() {
                let entry = Self {
                    flags: network.flags,
                    bridge: sys::ifname(network.bridge).unwrap_or_default(),
                    vni: network.vni,
                    name,
                };
                networks.insert(index, entry);
            }
        }
        Ok(networks)
    }
}

impl MapTable for AddressEntry {
    fn write(tables: &mut Tables, list: &[(IpAddr, Self)]) -> Result<(), DatapathError> {
        for (ip, entry) in list {
            let owner = match entry {
                Self::Gateway => AddressOwner::Gateway,
                Self::Host => AddressOwner::Host,
                Self::Endpoint(slot) => AddressOwner::Endpoint(*slot),
            };
            let record = AddressRecord::new(owner);
            let written = tables.addresses.insert(Addr::from(*ip), record, 0);
            written.map_err(failed("addresses"))?;
        }
        Ok(())
    }

    fn delete(tables: &mut Tables, keys: &[IpAddr]) -> Result<(), DatapathError> {
        for ip in keys {
            absent_is_success("addresses", tables.addresses.remove(&Addr::from(*ip)))?;
        }
        Ok(())
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<IpAddr, Self>, DatapathError> {
        let mut addresses = BTreeMap::new();
        for item in tables.addresses.iter() {
            let (addr, record) = item.map_err(failed("addresses"))?;
            addresses.insert(addr.ip(), address_entry(record));
        }
        Ok(addresses)
    }

    fn read(
        tables: &Tables,
        keys: &BTreeSet<&IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Self>, DatapathError> {
        read_each(keys, |ip| {
            let found = tables.addresses.get(&Addr::from(*ip), 0);
            Ok(absent_is_none("addresses", found)?.map(address_entry))
        })
    }
}

impl MapTable for SubnetEntry {
    fn write(tables: &mut Tables, list: &[(IpNet, Self)]) -> Result<(), DatapathError> {
        for (prefix, entry) in list {
            let subnet = Subnet {
                network: entry.network,
                flags: entry.flags,
                broadcast: broadcast(*prefix),
                pad: 0,
            };
            let written = tables.subnets.insert(&subnet_key(*prefix), subnet, 0);
            written.map_err(failed("subnets"))?;
        }
        Ok(())
    }

    fn delete(tables: &mut Tables, keys: &[IpNet]) -> Result<(), DatapathError> {
        for prefix in keys {
            absent_is_success("subnets", tables.subnets.remove(&subnet_key(*prefix)))?;
        }
        Ok(())
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<IpNet, Self>, DatapathError> {
        let mut subnets = BTreeMap::new();
        for item in tables.subnets.iter() {
            let (key, subnet) = item.map_err(failed("subnets"))?;
            if let Some(prefix) = prefix_of(key.prefix_len(), key.data()) {
                let entry = Self {
                    network: subnet.network,
                    flags: subnet.flags,
                };
                subnets.insert(prefix, entry);
            }
        }
        Ok(subnets)
    }
}

/// The directed broadcast address of a prefix, as the map stores it; 0 if it has none (RFC 3021).
fn broadcast(prefix: IpNet) -> u32 {
    match prefix {
        IpNet::V4(prefix) if prefix.prefix_len() < 31 => {
            Addr::from(IpAddr::from(prefix.broadcast())).raw_v4()
        }
        IpNet::V4(_) | IpNet::V6(_) => 0,
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
