//! The maps of the datapath: one list drives observing and executing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Datapath, Scope};
use crate::{
    datapath::{self, DatapathError, tables::Tables},
    plan::{Attachment, Desired, Observed, Operation},
};

/// A map: a function that observes the entries in scope, and one that executes its operations.
struct Table {
    observe: fn(&Tables, &Scope<'_>, &mut Observed) -> Result<(), DatapathError>,
    /// Executes an operation on this map; `None` for other operations.
    execute: fn(&mut datapath::Datapath, &Operation) -> Option<Result<(), DatapathError>>,
}

const TABLES: [Table; 7] = [
    Table {
        observe: |tables, scope, observed| {
            observed.uplinks = read_all(scope, |desired| &desired.uplinks, || tables.uplinks())?;
            Ok(())
        },
        execute: |datapath, operation| match operation {
            Operation::PutUplink { name, uplink } => Some(datapath.tables.put_uplink(name, uplink)),
            Operation::RemoveUplink { name } => Some(datapath.tables.remove_uplink(name)),
            _ => None,
        },
    },
    Table {
        observe: |tables, scope, observed| {
            observed.networks = read_all(scope, |desired| &desired.networks, || tables.networks())?;
            Ok(())
        },
        execute: |datapath, operation| match operation {
            Operation::PutNetwork { index, entry } => {
                Some(datapath.tables.put_network(*index, entry))
            }
            Operation::RemoveNetwork { index } => Some(datapath.tables.remove_network(*index)),
            _ => None,
        },
    },
    Table {
        observe: |tables, scope, observed| {
            observed.subnets = read_all(scope, |desired| &desired.subnets, || tables.subnets())?;
            Ok(())
        },
        execute: |datapath, operation| match operation {
            Operation::PutSubnet { prefix, entry } => {
                Some(datapath.tables.put_subnet(*prefix, *entry))
            }
            Operation::RemoveSubnet(prefix) => Some(datapath.tables.remove_subnet(*prefix)),
            _ => None,
        },
    },
    Table {
        observe: |tables, scope, observed| {
            let one = |slot: &u32| tables.endpoint(*slot);
            let all = || tables.endpoints();
            observed.endpoints = read_each(scope, |desired| &desired.endpoints, one, all)?;
            Ok(())
        },
        execute: |datapath, operation| match operation {
            Operation::PutEndpoint { slot, entry } => {
                Some(datapath.tables.put_endpoint(*slot, entry))
            }
            Operation::RemoveEndpoint { slot } => Some(datapath.tables.remove_endpoint(*slot)),
            _ => None,
        },
    },
    Table {
        observe: |tables, scope, observed| {
            let one = |ip: &std::net::IpAddr| tables.address(*ip);
            let all = || tables.addresses();
            observed.addresses = read_each(scope, |desired| &desired.addresses, one, all)?;
            Ok(())
        },
        execute: |datapath, operation| match operation {
            Operation::PutAddresses(entries) => Some(datapath.tables.put_addresses(entries)),
            Operation::RemoveAddresses(ips) => Some(datapath.tables.remove_addresses(ips)),
            _ => None,
        },
    },
    Table {
        observe: |tables, scope, observed| {
            let wanted = scope.members(|desired| &desired.allow);
            if wanted.as_ref().is_none_or(|wanted| !wanted.is_empty()) {
                observed.allow = tables.allow()?;
                retain(&mut observed.allow, wanted.as_ref());
            }
            Ok(())
        },
        execute: |datapath, operation| match operation {
            Operation::PutAllow(entries) => Some(datapath.tables.put_allow(entries)),
            Operation::RemoveAllow(entries) => Some(datapath.tables.remove_allow(entries)),
            _ => None,
        },
    },
    Table {
        observe: |tables, scope, observed| {
            let one = |key: &_| tables.port(key);
            let all = || tables.ports();
            observed.ports = read_each(scope, |desired| &desired.ports, one, all)?;
            Ok(())
        },
        execute: |datapath, operation| match operation {
            Operation::PutPorts(entries) => Some(datapath.publish(entries)),
            Operation::RemovePorts(keys) => Some(datapath.tables.remove_ports(keys)),
            _ => None,
        },
    },
];

impl Datapath for datapath::Datapath {
    fn observe(&self, scope: &Scope<'_>, observed: &mut Observed) -> Result<(), DatapathError> {
        let mut tables = TABLES.iter();
        tables.try_for_each(|table| (table.observe)(&self.tables, scope, observed))
    }

    fn execute(&mut self, operation: &Operation) -> Result<(), DatapathError> {
        match operation {
            Operation::PinMap { map } => self.pin_map(map),
            Operation::AttachSocket { program } => self.attach_socket(program),
            _ => {
                let executed = TABLES
                    .iter()
                    .find_map(|table| (table.execute)(self, operation));
                executed.unwrap_or(Ok(()))
            }
        }
    }

    fn attach(&mut self, attachment: &Attachment) -> Result<(), DatapathError> {
        Self::attach(self, attachment)
    }

    fn detach(&mut self, attachment: &Attachment) -> Result<(), DatapathError> {
        Self::detach(self, attachment)
    }

    fn is_attached(&mut self, attachment: &Attachment) -> Result<bool, DatapathError> {
        Self::is_attached(self, attachment)
    }

    fn pinned_attachments(&self) -> Result<Vec<Attachment>, DatapathError> {
        Self::pinned_attachments(self)
    }

    fn missing(&mut self) -> Result<Vec<Operation>, DatapathError> {
        let maps = self.missing_maps().into_iter();
        let maps = maps.map(|map| Operation::PinMap { map });
        let sockets = self.missing_sockets()?.into_iter();
        let sockets = sockets.map(|program| Operation::AttachSocket {
            program: program.to_owned(),
        });
        Ok(maps.chain(sockets).collect())
    }
}

/// Reads all entries of a small map and keeps those in scope. Reads nothing if no key is in scope.
fn read_all<K: Ord, V>(
    scope: &Scope<'_>,
    table: fn(&Desired) -> &BTreeMap<K, V>,
    all: impl FnOnce() -> Result<BTreeMap<K, V>, DatapathError>,
) -> Result<BTreeMap<K, V>, DatapathError> {
    let keys = scope.keys(table);
    if keys.as_ref().is_some_and(BTreeSet::is_empty) {
        return Ok(BTreeMap::new());
    }
    let mut entries = all()?;
    if let Some(keys) = keys {
        entries.retain(|key, _| keys.contains(key));
    }
    Ok(entries)
}

/// Reads the entries of the keys in scope, or all entries if the scope is not limited.
fn read_each<K: Ord + Clone, V>(
    scope: &Scope<'_>,
    table: fn(&Desired) -> &BTreeMap<K, V>,
    one: impl Fn(&K) -> Result<Option<V>, DatapathError>,
    all: impl FnOnce() -> Result<BTreeMap<K, V>, DatapathError>,
) -> Result<BTreeMap<K, V>, DatapathError> {
    let Some(keys) = scope.keys(table) else {
        return all();
    };
    let mut entries = BTreeMap::new();
    for key in keys {
        if let Some(entry) = one(key)? {
            entries.insert(key.clone(), entry);
        }
    }
    Ok(entries)
}

fn retain<K: Ord>(set: &mut BTreeSet<K>, wanted: Option<&BTreeSet<&K>>) {
    if let Some(wanted) = wanted {
        set.retain(|member| wanted.contains(member));
    }
}
