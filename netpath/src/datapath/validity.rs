//! Whether the outer side of a flow is still valid: host addresses and published ports.

use std::collections::{BTreeMap, HashMap, HashSet};

use netpath_common::{
    addr::Addr,
    flow::{BOTH_LOCAL, DELIVER, FlowEntry, FlowKey, Kind, ORIGINAL, UDP},
};

use super::{
    DatapathError,
    tables::{DenyIndex, Tables},
};
use crate::plan::{
    own_ports::OwnPortEntry,
    tables::{AddressEntry, PortEntry, PortKey},
};

/// The addresses of the node, its published ports and its deny list at one moment.
pub struct ValidFlows<'a> {
    denied: &'a DenyIndex,
    now: u64,
    addresses: HashSet<[u8; 16]>,
    ports: HashMap<(u8, Class), Ranges>,
    own_ports: HashMap<(u32, u8, Class), OwnRanges>,
}

/// Ranges of one class of addresses, by first port: last port and entry.
type Ranges = BTreeMap<u16, (u16, PortEntry)>;

/// Ranges of own ports of one endpoint, by first port: last port and entry.
type OwnRanges = BTreeMap<u16, (u16, OwnPortEntry)>;

/// The addresses of the node that a range is published on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Exact([u8; 16]),
    Family { v4: bool },
    Any,
}

impl<'a> ValidFlows<'a> {
    /// Reads addresses and ports. `now` is the time in coarse monotonic nanoseconds.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn read(tables: &'a Tables, now: u64) -> Result<Self, DatapathError> {
        let own = tables.all::<AddressEntry>()?.into_iter();
        let own = own.filter(|(_, entry)| !matches!(entry, AddressEntry::Endpoint(_)));
        let mut ports: HashMap<_, Ranges> = HashMap::new();
        for (key, entry) in tables.all::<PortEntry>()? {
            let ranges = ports
                .entry((key.protocol.number(), class(&key)))
                .or_default();
            ranges.insert(key.first, (key.last, entry));
        }
        let mut own_ports: HashMap<_, OwnRanges> = HashMap::new();
        for (key, entry) in tables.all::<OwnPortEntry>()? {
            let protocol = key.ports.protocol.number();
            let ranges = own_ports
                .entry((key.endpoint, protocol, class(&key.ports)))
                .or_default();
            ranges.insert(key.ports.first, (key.ports.last, entry));
        }
        Ok(Self {
            denied: &tables.denied_index,
            now,
            own_ports,
            addresses: own.map(|(ip, _)| Addr::from(ip).octets()).collect(),
            ports,
        })
    }

    /// Whether the address or published port with which a flow was created still exists and leads to the same endpoint, and
    /// the peer of the flow outside is not denied. Only the original entry is checked; for a reply entry the result is `true`.
    pub fn contain(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        if entry.role != ORIGINAL {
            return true;
        }
        if peer(key, entry).is_some_and(|peer| self.denied.contains(peer.ip(), self.now)) {
            return false;
        }
        match Kind::from_byte(entry.kind) {
            Some(Kind::Snat) => {
                self.addresses.contains(&entry.to.src.octets())
                    && (key.protocol != UDP
                        || self.is_own_port(key, entry)
                        || self
                            .published(key.protocol, entry.to.src, entry.to.sport.get())
                            .is_none())
            }
            Some(Kind::Dnat | Kind::Hairpin) => {
                self.addresses.contains(&key.dst.octets()) && self.leads_to_endpoint(key, entry)
            }
            Some(Kind::None) if entry.flags & DELIVER != 0 => self.leads_to_endpoint(key, entry),
            Some(Kind::None) => true,
            None => false,
        }
    }

    /// Whether the source port of a translated packet is published for the sandbox and the port that sent it.
    fn is_own_port(&self, key: &FlowKey, flow: &FlowEntry) -> bool {
        let port = key.sport.get();
        classes(flow.to.src).into_iter().any(|class| {
            let ranges = self.own_ports.get(&(flow.endpoint, key.protocol, class));
            ranges
                .and_then(|ranges| ranges.range(..=port).next_back())
                .is_some_and(|(first, (last, entry))| {
                    port <= *last
                        && entry.generation == flow.generation
                        && entry.host_port.wrapping_add(port - first) == flow.to.sport.get()
                })
        })
    }

    fn leads_to_endpoint(&self, key: &FlowKey, flow: &FlowEntry) -> bool {
        let port = key.dport.get();
        self.published(key.protocol, key.dst, port)
            .is_some_and(|(first, entry)| {
                entry.endpoint == flow.endpoint
                    && entry.generation == flow.generation
                    && entry.target.wrapping_add(port - first) == flow.to.dport.get()
            })
    }

    /// The published range that contains a port: its first port and its entry.
    fn published(&self, protocol: u8, addr: Addr, port: u16) -> Option<(u16, PortEntry)> {
        classes(addr).into_iter().find_map(|class| {
            let ranges = self.ports.get(&(protocol, class))?;
            let (first, (last, entry)) = ranges.range(..=port).next_back()?;
            (port <= *last).then_some((*first, *entry))
        })
    }
}

/// The peer outside of a flow with this original entry; `None` for a flow of the node, or between sandboxes.
fn peer(key: &FlowKey, entry: &FlowEntry) -> Option<Addr> {
    let is_inside = entry.flags & BOTH_LOCAL != 0 || (entry.endpoint, entry.generation) == (0, 0);
    let peer = if entry.flags & DELIVER != 0 {
        key.src
    } else {
        key.dst
    };
    (!is_inside).then_some(peer)
}

/// The classes that contain an address, the most specific one first.
fn classes(addr: Addr) -> [Class; 3] {
    [
        Class::Exact(addr.octets()),
        Class::Family { v4: addr.is_v4() },
        Class::Any,
    ]
}

fn class(key: &PortKey) -> Class {
    match key.host_ip {
        None => Class::Any,
        Some(ip) if ip.is_unspecified() => Class::Family { v4: ip.is_ipv4() },
        Some(ip) => Class::Exact(Addr::from(ip).octets()),
    }
}
