//! Interfaces of the node, and endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netpath_common::{
    addr::Addr,
    hook::LinkHeader,
    maps::{Config, Device, Endpoint, ForwarderKey, Role, Text, Usage},
};

use super::{MapTable, Tables, absent_is_success, failed, index_of, read_each};
use crate::{
    datapath::{DatapathError, sys},
    kernel::link_index,
    model::Rate,
    plan::{Interface, tables::EndpointEntry},
};
use aya::maps::MapError;

/// [`Endpoint::burst`]. If packets of a TCP connection are dropped, its sender may pause for its least retransmission timeout,
/// 200 ms on Linux. With a shorter burst, the sandbox would lose a part of what it could have sent during that time.
const BURST: u64 = 300_000_000;

/// Length of the list of sandboxes with most flows.
const TOP: usize = 5;

/// Flow count of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxFlows {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Flows that it opened, and flows from outside to its published ports.
    pub flows: u64,
}

/// The sandbox and the number of evicted flows of each endpoint, by slot and generation.
pub type Evictions = BTreeMap<(u32, u32), (String, u64)>;

/// Interfaces of the node in `devices`.
impl MapTable for Interface {
    fn write(tables: &mut Tables, list: &[(String, Self)]) -> Result<(), DatapathError> {
        for (name, interface) in list {
            let role = match interface.is_uplink {
                true => Role::Uplink,
                false => Role::Guarded,
            };
            let device = Device {
                role: role as u32,
                index: 0,
                mtu: interface.mtu,
                header: interface.header as u32,
                v4: interface.v4.map(Addr::from).unwrap_or_default(),
                v6: interface.v6.map(Addr::from).unwrap_or_default(),
            };
            let written = tables.devices.insert(index_of(name)?, device, 0);
            written.map_err(failed("devices"))?;
        }
        Ok(())
    }

    /// Also removes interfaces that no longer exist.
    fn delete(tables: &mut Tables, keys: &[String]) -> Result<(), DatapathError> {
        for (index, device) in tables.devices()? {
            if device.is_interface() && sys::ifname(index).is_none_or(|name| keys.contains(&name)) {
                absent_is_success("devices", tables.devices.remove(&index))?;
            }
        }
        Ok(())
    }

    /// The key is `#INDEX` if the interface was removed.
    fn read_all(tables: &Tables) -> Result<BTreeMap<String, Self>, DatapathError> {
        let devices = tables.devices()?.into_iter();
        let interfaces = devices.filter(|(_, device)| device.is_interface());
        Ok(interfaces
            .map(|(index, device)| {
                let name = sys::ifname(index).unwrap_or_else(|| format!("#{index}"));
                (name, interface(&device))
            })
            .collect())
    }

    fn read(
        tables: &Tables,
        keys: &BTreeSet<&String>,
    ) -> Result<BTreeMap<String, Self>, DatapathError> {
        read_each(keys, |name| {
            let Some(index) = link_index(name) else {
                return Ok(None);
            };
            let device = match tables.devices.get(&index, 0) {
                Err(MapError::KeyNotFound) => return Ok(None),
                device => device.map_err(failed("devices"))?,
            };
            Ok(device.is_interface().then(|| interface(&device)))
        })
    }
}

/// Endpoints in `endpoints`, and their interfaces in `devices`.
impl MapTable for EndpointEntry {
    fn write(tables: &mut Tables, list: &[(u32, Self)]) -> Result<(), DatapathError> {
        // This must precede the first flow of an endpoint.
        tables.slots.extend(list.iter().map(|(slot, _)| *slot));
        tables.write_shares()?;
        let mut list = list.iter();
        list.try_for_each(|(slot, entry)| tables.write_endpoint(*slot, entry))
    }

    /// Flows of their generations expire at once.
    fn delete(tables: &mut Tables, keys: &[u32]) -> Result<(), DatapathError> {
        for slot in keys {
            let old = tables.endpoints.get(slot, 0).map_err(failed("endpoints"))?;
            tables.remove_forwarder(&old)?;
            let cleared = tables.endpoints.set(*slot, Endpoint::default(), 0);
            cleared.map_err(failed("endpoints"))?;
            tables.reset_usage(*slot, 0)?;
            if old.ifindex != 0 {
                absent_is_success("devices", tables.devices.remove(&old.ifindex))?;
            }
            tables.slots.remove(slot);
        }
        tables.write_shares()
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<u32, Self>, DatapathError> {
        let devices = tables.devices()?.into_iter();
        let endpoints = devices.filter(|(_, device)| device.is_endpoint());
        let slots: BTreeSet<u32> = endpoints.map(|(_, device)| device.index).collect();
        Self::read(tables, &slots.iter().collect())
    }

    fn read(tables: &Tables, keys: &BTreeSet<&u32>) -> Result<BTreeMap<u32, Self>, DatapathError> {
        read_each(keys, |slot| {
            let endpoint = tables.endpoints.get(slot, 0).map_err(failed("endpoints"))?;
            Ok(endpoint_entry(&endpoint))
        })
    }
}

impl Tables {
    fn write_endpoint(&mut self, slot: u32, entry: &EndpointEntry) -> Result<(), DatapathError> {
        let family = |addresses: &[IpAddr], v4: bool| {
            addresses
                .iter()
                .find(|address| address.is_ipv4() == v4)
                .copied()
                .map(Addr::from)
                .unwrap_or_default()
        };
        let endpoint = Endpoint {
            ifindex: index_of(&entry.host_interface)?,
            generation: entry.generation,
            network: entry.network,
            flags: entry.flags,
            bridge: index_of(&entry.bridge)?,
            mtu: entry.mtu,
            mac: entry.mac,
            gateway_mac: entry.gateway_mac,
            next: entry.next,
            rate: entry.rate.map_or(0, u64::from),
            burst: BURST,
            v4: family(&entry.addresses, true),
            v6: family(&entry.addresses, false),
            gateway_v4: family(&entry.gateways, true),
            gateway_v6: family(&entry.gateways, false),
            sandbox: Text::new(entry.sandbox.as_str()),
        };
        let old = self.endpoints.get(&slot, 0).map_err(failed("endpoints"))?;
        if old.ifindex != endpoint.ifindex {
            absent_is_success("devices", self.devices.remove(&old.ifindex))?;
        }
        if forwarder_key(&old) != forwarder_key(&endpoint) {
            self.remove_forwarder(&old)?;
        }
        // This must precede the first flow of the generation.
        self.reset_usage(slot, entry.generation)?;
        self.endpoints
            .set(slot, endpoint, 0)
            .map_err(failed("endpoints"))?;
        if let Some(key) = forwarder_key(&endpoint) {
            let inserted = self.forwarders.insert(key, slot, 0);
            inserted.map_err(failed("forwarders"))?;
        }
        let device = Device {
            role: Role::Endpoint as u32,
            index: slot,
            mtu: entry.mtu,
            ..Device::default()
        };
        self.devices
            .insert(endpoint.ifindex, device, 0)
            .map_err(failed("devices"))
    }

    /// Writes the limit of half-open flows and the share of the table for the present endpoints. Both change only when the
    /// largest slot passes a power of two, because the rings of half-open flows of all endpoints move in the map.
    pub(in crate::datapath) fn write_shares(&mut self) -> Result<(), DatapathError> {
        let slots = self.slots.last().map_or(1, |slot| slot + 1);
        let slots = slots.next_power_of_two();
        let config = self.config()?;
        let room = (self.half_open_elements / 2 / slots).max(1);
        let half_open_mask = config.half_open_limit.min(1 << room.ilog2()).max(1) - 1;
        let fair_share = (self.capacity / slots).max(1);
        if (config.half_open_mask, config.fair_share) == (half_open_mask, fair_share) {
            return Ok(());
        }
        self.set_node(|config| {
            Ok(Config {
                half_open_mask,
                fair_share,
                ..config
            })
        })
    }

    /// Removes the entry in `forwarders` of an endpoint, if it has one.
    fn remove_forwarder(&mut self, endpoint: &Endpoint) -> Result<(), DatapathError> {
        match forwarder_key(endpoint) {
            Some(key) => absent_is_success("forwarders", self.forwarders.remove(&key)),
            None => Ok(()),
        }
    }

    /// Sets the flow count of a slot to zero and assigns it to a generation, unless it already belongs to that
    /// generation.
    pub(super) fn reset_usage(&mut self, slot: u32, generation: u32) -> Result<(), DatapathError> {
        if self.usage(slot)?.generation == generation {
            return Ok(());
        }
        let usage = Usage {
            generation,
            ..Usage::default()
        };
        self.usage.set(slot, usage, 0).map_err(failed("usage"))
    }

    /// The flow count of the sandbox in a slot.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn usage(&self, slot: u32) -> Result<Usage, DatapathError> {
        self.usage.get(&slot, 0).map_err(failed("usage"))
    }

    /// The sandboxes with most flows, in descending order.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn top(&self) -> Result<Vec<SandboxFlows>, DatapathError> {
        let mut by_sandbox: BTreeMap<String, u64> = BTreeMap::new();
        for (slot, entry) in self.all::<EndpointEntry>()? {
            let usage = self.usage(slot)?;
            let flows = i64::from(usage.flows) + i64::from(usage.unsustained);
            let flows = u64::try_from(flows).unwrap_or_default();
            if usage.generation == entry.generation && flows > 0 {
                *by_sandbox.entry(entry.sandbox.to_string()).or_default() += flows;
            }
        }
        let mut top: Vec<_> = by_sandbox
            .into_iter()
            .map(|(sandbox, flows)| SandboxFlows { sandbox, flows })
            .collect();
        // The sort is stable: sandboxes with equal numbers of flows stay in the order of their names.
        top.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.flows));
        top.truncate(TOP);
        Ok(top)
    }

    /// Evicted flows of each endpoint.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn evictions(&self) -> Result<Evictions, DatapathError> {
        let mut evictions = Evictions::new();
        for (slot, entry) in self.all::<EndpointEntry>()? {
            let usage = self.usage(slot)?;
            if usage.generation == entry.generation {
                let [outbound, inbound] = usage.evicted_half_open;
                let count = u64::from(outbound) + u64::from(inbound) + u64::from(usage.evicted);
                let key = (slot, entry.generation);
                evictions.insert(key, (entry.sandbox.to_string(), count));
            }
        }
        Ok(evictions)
    }

    fn devices(&self) -> Result<Vec<(u32, Device)>, DatapathError> {
        self.devices
            .iter()
            .collect::<Result<_, _>>()
            .map_err(failed("devices"))
    }
}

fn interface(device: &Device) -> Interface {
    let known = |addr: Addr| (!addr.is_unspecified()).then(|| addr.ip());
    Interface {
        mtu: device.mtu,
        header: match device.header {
            header if header == LinkHeader::None as u32 => LinkHeader::None,
            _ => LinkHeader::Ethernet,
        },
        is_uplink: device.is_uplink(),
        v4: known(device.v4),
        v6: known(device.v6),
    }
}

/// The key in `forwarders`; `None` if the sandbox does not forward packets.
fn forwarder_key(endpoint: &Endpoint) -> Option<ForwarderKey> {
    let key = ForwarderKey::new(endpoint.network, endpoint.mac);
    endpoint.is_forwarding().then_some(key)
}

/// The entry of a slot; `None` if the slot is free.
fn endpoint_entry(endpoint: &Endpoint) -> Option<EndpointEntry> {
    if endpoint.ifindex == 0 {
        return None;
    }
    let known = |pair: [Addr; 2]| {
        pair.iter()
            .filter(|addr| !addr.is_unspecified())
            .map(|addr| addr.ip())
            .collect()
    };
    Some(EndpointEntry {
        host_interface: sys::ifname(endpoint.ifindex).unwrap_or_default(),
        generation: endpoint.generation,
        network: endpoint.network,
        flags: endpoint.flags,
        bridge: sys::ifname(endpoint.bridge).unwrap_or_default(),
        mtu: endpoint.mtu,
        mac: endpoint.mac,
        gateway_mac: endpoint.gateway_mac,
        addresses: known([endpoint.v4, endpoint.v6]),
        gateways: known([endpoint.gateway_v4, endpoint.gateway_v6]),
        next: endpoint.next,
        rate: Rate::try_from(endpoint.rate).ok(),
        sandbox: endpoint.sandbox.as_str().parse().ok()?,
    })
}
