//! Uplinks and endpoints.

use std::{collections::BTreeMap, net::IpAddr};

use netpath_common::{
    addr::Addr,
    maps::{Device, Endpoint, Role, Text, Usage},
};

use super::{Tables, absent_is_success, failed, index_of};
use crate::{
    datapath::{DatapathError, sys},
    plan::{Uplink, entries::EndpointEntry},
};

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

impl Tables {
    /// Adds an uplink to `devices`.
    ///
    /// # Errors
    /// If there is no such interface or the map cannot be written.
    pub fn put_uplink(&mut self, name: &str, uplink: &Uplink) -> Result<(), DatapathError> {
        let index = index_of(name)?;
        let device = Device {
            role: Role::Uplink as u32,
            index: 0,
            mtu: uplink.mtu,
            pad: 0,
            v4: uplink.v4.map(Addr::from).unwrap_or_default(),
            v6: uplink.v6.map(Addr::from).unwrap_or_default(),
        };
        self.devices
            .insert(index, device, 0)
            .map_err(failed("devices"))
    }

    /// Removes the uplink of that name, and uplinks whose interface was removed.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn remove_uplink(&mut self, name: &str) -> Result<(), DatapathError> {
        for (index, device) in self.devices()? {
            if device.is_uplink() && sys::ifname(index).is_none_or(|found| found == name) {
                absent_is_success("devices", self.devices.remove(&index))?;
            }
        }
        Ok(())
    }

    /// Uplinks by name; `#INDEX` if the interface was removed.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn uplinks(&self) -> Result<BTreeMap<String, Uplink>, DatapathError> {
        let known = |addr: Addr| (!addr.is_unspecified()).then(|| addr.ip());
        Ok(self
            .devices()?
            .into_iter()
            .filter(|(_, device)| device.is_uplink())
            .map(|(index, device)| {
                let name = sys::ifname(index).unwrap_or_else(|| format!("#{index}"));
                (
                    name,
                    Uplink {
                        mtu: device.mtu,
                        v4: known(device.v4),
                        v6: known(device.v6),
                    },
                )
            })
            .collect())
    }

    /// Writes an endpoint to a slot, and adds its interface to `devices`.
    ///
    /// # Errors
    /// If an interface is missing or a map cannot be written.
    pub fn put_endpoint(&mut self, slot: u32, entry: &EndpointEntry) -> Result<(), DatapathError> {
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
            pad: 0,
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
        // This must precede the first flow of the generation.
        self.reset_usage(slot, entry.generation)?;
        self.endpoints
            .set(slot, endpoint, 0)
            .map_err(failed("endpoints"))?;
        let device = Device {
            role: Role::Endpoint as u32,
            index: slot,
            mtu: entry.mtu,
            pad: 0,
            ..Device::default()
        };
        self.devices
            .insert(endpoint.ifindex, device, 0)
            .map_err(failed("devices"))
    }

    /// Clears a slot; flows of its generation expire at once.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn remove_endpoint(&mut self, slot: u32) -> Result<(), DatapathError> {
        let old = self.endpoints.get(&slot, 0).map_err(failed("endpoints"))?;
        self.endpoints
            .set(slot, Endpoint::default(), 0)
            .map_err(failed("endpoints"))?;
        self.reset_usage(slot, 0)?;
        if old.ifindex == 0 {
            return Ok(());
        }
        absent_is_success("devices", self.devices.remove(&old.ifindex))
    }

    /// Sets the flow count of a slot to zero and assigns it to a generation.
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
        for (slot, entry) in self.endpoints()? {
            let usage = self.usage(slot)?;
            let flows = u64::try_from(usage.flows).unwrap_or_default();
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

    /// The endpoint in a slot; `None` if it is free.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn endpoint(&self, slot: u32) -> Result<Option<EndpointEntry>, DatapathError> {
        let endpoint = self.endpoints.get(&slot, 0).map_err(failed("endpoints"))?;
        if endpoint.ifindex == 0 {
            return Ok(None);
        }
        let Ok(sandbox) = endpoint.sandbox.as_str().parse() else {
            return Ok(None);
        };
        let known = |pair: [Addr; 2]| {
            pair.iter()
                .filter(|addr| !addr.is_unspecified())
                .map(|addr| addr.ip())
                .collect()
        };
        Ok(Some(EndpointEntry {
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
            sandbox,
        }))
    }

    /// Every slot in use.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn endpoints(&self) -> Result<BTreeMap<u32, EndpointEntry>, DatapathError> {
        let mut endpoints = BTreeMap::new();
        for (_, device) in self.devices()? {
            if device.is_endpoint()
                && let Some(entry) = self.endpoint(device.index)?
            {
                endpoints.insert(device.index, entry);
            }
        }
        Ok(endpoints)
    }

    fn devices(&self) -> Result<Vec<(u32, Device)>, DatapathError> {
        self.devices
            .iter()
            .collect::<Result<_, _>>()
            .map_err(failed("devices"))
    }
}
