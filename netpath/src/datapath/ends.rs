//! Whether the outer side of a flow is still valid: host addresses and published ports.

use std::collections::{BTreeMap, HashMap, HashSet};

use netpath_common::{
    addr::Addr,
    flow::{DELIVER, FlowKey, Half, Kind, ORIGINAL, UDP},
};

use super::{DatapathError, tables::Tables};
use crate::plan::entries::{AddressEntry, PortEntry, PortKey};

/// Addresses and ports as they are at one moment.
pub struct Ends {
    addresses: HashSet<[u8; 16]>,
    ports: HashMap<(u8, Class), Ranges>,
}

/// Ranges of one class of addresses, by first port: last port and entry.
type Ranges = BTreeMap<u16, (u16, PortEntry)>;

/// Which addresses of the node a range holds for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Exact([u8; 16]),
    Family { v4: bool },
    Any,
}

impl Ends {
    /// Reads them.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn of(tables: &Tables) -> Result<Self, DatapathError> {
        let own = tables.addresses()?.into_iter();
        let own = own.filter(|(_, entry)| !matches!(entry, AddressEntry::Endpoint(_)));
        let mut ports: HashMap<_, Ranges> = HashMap::new();
        for (key, entry) in tables.ports()? {
            let ranges = ports
                .entry((key.protocol.number(), class(&key)))
                .or_default();
            ranges.insert(key.first, (key.last, entry));
        }
        Ok(Self {
            addresses: own.map(|(ip, _)| Addr::from(ip).octets()).collect(),
            ports,
        })
    }

    /// Whether the outer side of a flow is still valid. Only the entry that opened the flow determines it;
    /// of the other one this is always true.
    pub fn still_hold(&self, key: &FlowKey, half: &Half) -> bool {
        if half.role != ORIGINAL {
            return true;
        }
        match Kind::from_byte(half.kind) {
            Some(Kind::Snat) => {
                self.addresses.contains(&half.to.src.octets())
                    && (key.protocol != UDP
                        || self
                            .published(key.protocol, half.to.src, half.to.sport.get())
                            .is_none())
            }
            Some(Kind::Dnat | Kind::Hairpin) => {
                self.addresses.contains(&key.dst.octets()) && self.leads_to(key, half)
            }
            Some(Kind::None) if half.flags & DELIVER != 0 => self.leads_to(key, half),
            Some(Kind::None) => true,
            None => false,
        }
    }

    fn leads_to(&self, key: &FlowKey, half: &Half) -> bool {
        let port = key.dport.get();
        self.published(key.protocol, key.dst, port)
            .is_some_and(|(first, entry)| {
                entry.endpoint == half.endpoint
                    && entry.generation == half.generation
                    && entry.target.wrapping_add(port - first) == half.to.dport.get()
            })
    }

    /// The published range that contains a port: its first port and its entry.
    fn published(&self, protocol: u8, addr: Addr, port: u16) -> Option<(u16, PortEntry)> {
        let classes = [
            Class::Exact(addr.octets()),
            Class::Family { v4: addr.is_v4() },
            Class::Any,
        ];
        classes.into_iter().find_map(|class| {
            let ranges = self.ports.get(&(protocol, class))?;
            let (first, (last, entry)) = ranges.range(..=port).next_back()?;
            (port <= *last).then_some((*first, *entry))
        })
    }
}

fn class(key: &PortKey) -> Class {
    match key.host_ip {
        None => Class::Any,
        Some(ip) if ip.is_unspecified() => Class::Family { v4: ip.is_ipv4() },
        Some(ip) => Class::Exact(Addr::from(ip).octets()),
    }
}
