//! The state of one network: its members, and the addresses that are in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netpath_common::addr::MacAddr;

use super::{State, StateError};
use crate::{
    ipam::{AddressError, Addresses},
    model::{Endpoint, Holder, Id, Name, Network},
};

/// The state of one network.
#[derive(Clone, Debug)]
pub(in crate::model) struct NetworkState {
    pub network: Network,
    /// Sandboxes with an endpoint in it.
    pub members: BTreeSet<Name>,
    /// Endpoints without a sandbox.
    pub unbound: BTreeSet<Id>,
    /// Holders of MAC addresses.
    pub macs: BTreeMap<MacAddr, Holder>,
    /// Holders of addresses, without the gateways.
    pub holders: BTreeMap<IpAddr, Holder>,
    /// Addresses of each subnet, in the order of the network's subnets.
    pub addresses: Vec<Addresses>,
    /// Highest generation of every endpoint that has joined.
    highest_generation: u32,
}

impl NetworkState {
    fn new(network: Network) -> Self {
        let addresses = network
            .subnets
            .iter()
            .map(|subnet| Addresses::new(subnet.prefix, subnet.gateway, subnet.range))
            .collect();
        Self {
            network,
            members: BTreeSet::new(),
            unbound: BTreeSet::new(),
            macs: BTreeMap::new(),
            holders: BTreeMap::new(),
            addresses,
            highest_generation: 0,
        }
    }

    /// The holder of an address.
    pub fn address_holder(&self, ip: IpAddr) -> Option<Holder> {
        self.holders.get(&ip).cloned()
    }

    /// The holder of a MAC address.
    pub fn mac_holder(&self, mac: MacAddr) -> Option<Holder> {
        self.macs.get(&mac).cloned()
    }

    /// Whether `ip` is available; `None` if the network has no subnet of its family.
    pub fn check_address(&self, ip: IpAddr) -> Option<Result<(), AddressError>> {
        self.network
            .subnets
            .iter()
            .zip(&self.addresses)
            .find(|(subnet, _)| subnet.gateway.is_ipv4() == ip.is_ipv4())
            .map(|(subnet, addresses)| addresses.check(ip, subnet.gateway))
    }

    pub fn join(&mut self, holder: &Holder, endpoint: &Endpoint) {
        match holder {
            Holder::Sandbox(sandbox) => self.members.insert(sandbox.clone()),
            Holder::Endpoint(_) | Holder::NewEndpoint => self.unbound.insert(endpoint.id),
        };
        self.macs.insert(endpoint.mac, holder.clone());
        let is_newest = endpoint.generation > self.highest_generation;
        self.highest_generation = self.highest_generation.max(endpoint.generation);
        for address in &endpoint.addresses {
            self.holders.insert(address.addr(), holder.clone());
            if let Some(addresses) = self.addresses_like(address.addr()) {
                addresses.take(address.addr());
                if is_newest {
                    addresses.continue_after(address.addr());
                }
            }
        }
    }

    pub fn leave(&mut self, holder: &Holder, endpoint: &Endpoint) {
        match holder {
            Holder::Sandbox(sandbox) => self.members.remove(sandbox),
            Holder::Endpoint(_) | Holder::NewEndpoint => self.unbound.remove(&endpoint.id),
        };
        self.macs.remove(&endpoint.mac);
        for address in &endpoint.addresses {
            self.holders.remove(&address.addr());
            if let Some(addresses) = self.addresses_like(address.addr()) {
                addresses.release(address.addr());
            }
        }
    }

    /// Whether this node may use `ip`.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        let subnets = self.network.subnets.iter().zip(&self.addresses);
        subnets
            .into_iter()
            .find(|(subnet, _)| subnet.gateway.is_ipv4() == ip.is_ipv4())
            .is_some_and(|(_, addresses)| addresses.is_own(ip))
    }

    /// Whether it has an endpoint.
    pub fn is_used(&self) -> bool {
        !(self.members.is_empty() && self.unbound.is_empty())
    }

    fn addresses_like(&mut self, ip: IpAddr) -> Option<&mut Addresses> {
        let like = |gateway: IpAddr| gateway.is_ipv4() == ip.is_ipv4();
        self.network
            .subnets
            .iter()
            .zip(&mut self.addresses)
            .find(|(subnet, _)| like(subnet.gateway))
            .map(|(_, addresses)| addresses)
    }
}

impl State {
    pub(super) fn replace_network(
        &mut self,
        before: Option<&Network>,
        after: Option<&Network>,
    ) -> Result<(), StateError> {
        if let Some(before) = before {
            let entry = self.networks.get(&before.name);
            if entry.map(|entry| &entry.network) != Some(before) {
                return Err(StateError::stale(&before.name));
            }
            if entry.is_some_and(NetworkState::is_used) {
                return Err(StateError::contradiction(
                    format!("network '{}'", before.name),
                    "it has endpoints and cannot change".to_owned(),
                ));
            }
            self.drop_network(before);
        }
        let Some(after) = after else { return Ok(()) };
        let checked = self.check_network(after);
        let kept = if checked.is_ok() { Some(after) } else { before };
        if let Some(kept) = kept {
            self.add_network(kept.clone());
        }
        checked
    }

    /// Adds a network that the caller has checked.
    pub(super) fn add_network(&mut self, network: Network) {
        self.ids.insert(network.id.device());
        if network.index != 0 {
            let index = network.index.into();
            self.network_numbers.insert(index, index);
        }
        for subnet in &network.subnets {
            // The caller has checked that it does not overlap.
            let _ = self.prefixes.insert(subnet.prefix, network.name.clone());
        }
        let mut entry = NetworkState::new(network);
        entry.restrict(self.own.get(&entry.network.name));
        self.networks.insert(entry.network.name.clone(), entry);
    }

    fn drop_network(&mut self, network: &Network) {
        self.ids.remove(&network.id.device());
        if network.index != 0 {
            let index = network.index.into();
            self.network_numbers.remove(index, index);
        }
        for subnet in &network.subnets {
            self.prefixes.remove(&subnet.prefix);
        }
        self.networks.remove(&network.name);
    }
}
