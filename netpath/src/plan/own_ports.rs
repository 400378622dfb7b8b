//! The planned table `own_ports`: which host ports are published for the ports of an endpoint. A flow that a sandbox opens from
//! such a port leaves the node with the host port.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::tables::{Entry, Order, PortKey};
use crate::model::{PortMapping, Protocol};

/// Key of `own_ports`: ports of an endpoint, and the address of the node on which they are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnPortKey {
    /// Slot of the endpoint.
    pub endpoint: u32,
    /// Protocol and ports of the endpoint, and the host address.
    pub ports: PortKey,
}

/// An entry of `own_ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnPortEntry {
    /// Host port that is published for the first port of the key.
    pub host_port: u16,
    /// Generation of the slot.
    pub generation: u32,
}

impl Entry for OwnPortEntry {
    type Key = OwnPortKey;
    const NOUN: &'static str = "port with a published host port";
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = true;

    fn endpoint(&self) -> Option<u32> {
        None
    }

    fn key_text(key: &OwnPortKey) -> String {
        format!("{} in slot {}", key.ports, key.endpoint)
    }
}

/// The ports of a sandbox with a published host port: the key of each range without its endpoint, and the host port of its
/// first port.
///
/// The ranges of one protocol and host address have no common port. If several host ports lead to a port, the host port of
/// the same number is used, otherwise the lowest one.
pub(super) fn own_ports(mappings: &[PortMapping]) -> Vec<(PortKey, u16)> {
    let mut order: Vec<_> = mappings.iter().collect();
    order.sort_by_key(|mapping| {
        (
            mapping.host_port != mapping.container_port,
            mapping.host_port,
            Reverse(mapping.container_port),
        )
    });
    let mut covered: BTreeMap<(Protocol, Option<IpAddr>), BTreeMap<u16, u16>> = BTreeMap::new();
    let mut found = Vec::new();
    for mapping in order {
        let (protocol, host_ip) = (mapping.protocol, mapping.host_ip);
        let covered = covered.entry((protocol, host_ip)).or_default();
        let range = (mapping.container_port, mapping.container_port_end);
        for (first, last) in gaps(covered, range) {
            covered.insert(first, last);
            let key = PortKey {
                protocol,
                host_ip,
                first,
                last,
            };
            found.push((key, mapping.host_port + (first - mapping.container_port)));
        }
    }
    found
}

/// The parts of a range that no range of `covered` contains. `covered` has the last port of each range by its first one.
fn gaps(covered: &BTreeMap<u16, u16>, (first, last): (u16, u16)) -> Vec<(u16, u16)> {
    let start = covered
        .range(..=first)
        .next_back()
        .map_or(first, |(from, _)| *from);
    let mut next = Some(first);
    let mut found = Vec::new();
    for (from, to) in covered.range(start..=last) {
        let Some(begin) = next else { break };
        if *from > begin {
            found.push((begin, from - 1));
        }
        next = if *to < begin {
            Some(begin)
        } else {
            to.checked_add(1)
        };
    }
    if let Some(begin) = next.filter(|begin| *begin <= last) {
        found.push((begin, last));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapping(host: u16, container: u16, length: u16) -> PortMapping {
        PortMapping {
            protocol: Protocol::Udp,
            host_ip: None,
            host_port: host,
            host_port_end: host + length,
            container_port: container,
            container_port_end: container + length,
            allow: Vec::new(),
            allow_list: 0,
        }
    }

    fn host_port(found: &[(PortKey, u16)], port: u16) -> Option<u16> {
        let of = |(key, host): &(PortKey, u16)| {
            (key.first <= port && port <= key.last).then(|| host + (port - key.first))
        };
        found.iter().find_map(of)
    }

    #[test]
    fn host_port_of_the_same_number_is_preferred() {
        let found = own_ports(&[
            mapping(5061, 5060, 0),
            mapping(5060, 5060, 0),
            mapping(90, 80, 0),
        ]);
        assert_eq!(host_port(&found, 5060), Some(5060));
        assert_eq!(host_port(&found, 80), Some(90));
        assert_eq!(host_port(&found, 81), None);
    }

    proptest! {
        #[test]
        fn ranges_are_disjoint_and_lead_to_the_preferred_port(
            ranges in prop::collection::vec((1_u16..200, 1_u16..200, 0_u16..40), 0..8)
        ) {
            let mappings: Vec<_> = ranges
                .iter()
                .map(|(host, container, length)| mapping(*host, *container, *length))
                .collect();
            let found = own_ports(&mappings);
            for port in 0..300 {
                let contains = |(key, _): &&(PortKey, u16)| key.first <= port && port <= key.last;
                prop_assert!(found.iter().filter(contains).count() <= 1);
                let hosts = mappings.iter().filter_map(|mapping| {
                    let inside = mapping.container_port <= port && port <= mapping.container_port_end;
                    inside.then(|| (
                        mapping.host_port != mapping.container_port,
                        mapping.host_port,
                        mapping.host_port + (port - mapping.container_port),
                    ))
                });
                let expected = hosts.min().map(|(_, _, host)| host);
                prop_assert_eq!(host_port(&found, port), expected);
            }
        }
    }
}
