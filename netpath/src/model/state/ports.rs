//! Index of the published host ports.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::model::{Name, PortMapping, Protocol};

/// Published ranges of the node, with their owners.
///
/// A wildcard may coexist with exact addresses: the most specific address wins. Two wildcards conflict if they
/// have a family in common.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct PortIndex {
    by_address: BTreeMap<(Protocol, IpAddr), BTreeMap<u16, (u16, Name)>>,
}

/// A published range that conflicts with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::model) struct Occupied {
    pub first: u16,
    pub last: u16,
    pub owner: Name,
}

impl PortIndex {
    /// A published range that overlaps the given range.
    pub fn conflict(
        &self,
        protocol: Protocol,
        host_ip: Option<IpAddr>,
        (first, last): (u16, u16),
    ) -> Option<Occupied> {
        index_addresses(host_ip).find_map(|ip| {
            let (&found, (found_last, owner)) = self
                .by_address
                .get(&(protocol, ip))?
                .range(..=last)
                .next_back()?;
            (*found_last >= first).then(|| Occupied {
                first: found,
                last: *found_last,
                owner: owner.clone(),
            })
        })
    }

    pub fn insert(&mut self, mapping: &PortMapping, owner: &Name) {
        for ip in index_addresses(mapping.host_ip) {
            let ranges = self.by_address.entry((mapping.protocol, ip)).or_default();
            ranges.insert(mapping.host_port, (mapping.host_port_end, owner.clone()));
        }
    }

    pub fn remove(&mut self, mapping: &PortMapping) {
        for ip in index_addresses(mapping.host_ip) {
            let key = (mapping.protocol, ip);
            if let Some(ranges) = self.by_address.get_mut(&key) {
                ranges.remove(&mapping.host_port);
                if ranges.is_empty() {
                    self.by_address.remove(&key);
                }
            }
        }
    }
}

/// Keys of the index for a host address.
fn index_addresses(host_ip: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let (one, other) = match host_ip {
        Some(ip) => (ip, None),
        None => (
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        ),
    };
    std::iter::once(one).chain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host_ip: Option<&str>, first: u16, last: u16) -> PortMapping {
        PortMapping {
            protocol: Protocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: first,
            host_port_end: last,
            container_port: first,
            container_port_end: last,
            allow: Vec::new(),
            allow_list: 0,
        }
    }

    #[test]
    fn wildcards_conflict_and_exact_addresses_coexist() {
        let conflicts = |one: Option<&str>, other: Option<&str>| {
            let mut index = PortIndex::default();
            index.insert(&mapping(one, 80, 89), &"web".parse().unwrap());
            let ip = other.map(|ip| ip.parse().unwrap());
            assert!(index.conflict(Protocol::Udp, ip, (80, 80)).is_none());
            assert!(index.conflict(Protocol::Tcp, ip, (70, 79)).is_none());
            assert!(index.conflict(Protocol::Tcp, ip, (90, 99)).is_none());
            let found = index.conflict(Protocol::Tcp, ip, (70, 80)).is_some();
            assert_eq!(found, index.conflict(Protocol::Tcp, ip, (89, 99)).is_some());
            index.remove(&mapping(one, 80, 89));
            assert!(index.by_address.is_empty());
            found
        };
        assert!(conflicts(None, None));
        assert!(conflicts(None, Some("0.0.0.0")) && conflicts(Some("0.0.0.0"), None));
        assert!(conflicts(None, Some("::")) && conflicts(Some("::"), None));
        assert!(conflicts(Some("10.0.0.1"), Some("10.0.0.1")));
        assert!(!conflicts(Some("0.0.0.0"), Some("::")));
        assert!(!conflicts(None, Some("10.0.0.1")) && !conflicts(Some("10.0.0.1"), None));
        assert!(!conflicts(Some("10.0.0.1"), Some("10.0.0.2")));
    }
}
