//! Endpoints of other nodes in networks of global scope.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;

use super::State;
use crate::ipam::AddressError;
use crate::model::{Holder, Id, Name, RemoteEndpoint};

/// Addresses of a network that endpoints of other nodes have.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct RemoteHolders {
    addresses: BTreeMap<IpAddr, Id>,
    macs: BTreeMap<MacAddr, Id>,
}

impl RemoteHolders {
    /// Adds the addresses of one endpoint.
    pub fn insert(&mut self, endpoint: &RemoteEndpoint) {
        self.macs.insert(endpoint.mac, endpoint.id);
        for address in &endpoint.addresses {
            self.addresses.insert(address.addr(), endpoint.id);
        }
    }

    /// The endpoint with this address.
    pub fn with_address(&self, ip: IpAddr) -> Option<Holder> {
        self.addresses.get(&ip).copied().map(Holder::Remote)
    }

    /// Refuses an address `ip` of `subnet` that an endpoint has.
    ///
    /// # Errors
    /// [`AddressError::Taken`].
    pub fn check_address(&self, ip: IpAddr, subnet: IpNet) -> Result<(), AddressError> {
        if self.addresses.contains_key(&ip) {
            return Err(AddressError::Taken { ip, subnet });
        }
        Ok(())
    }

    /// The endpoint with this MAC address.
    pub fn with_mac(&self, mac: MacAddr) -> Option<Holder> {
        self.macs.get(&mac).copied().map(Holder::Remote)
    }

    /// An endpoint; `None` if there is none.
    pub fn first(&self) -> Option<Holder> {
        self.macs.values().next().copied().map(Holder::Remote)
    }
}

/// An address that both an endpoint of this node and an endpoint of another node have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{local} and {remote} have address {ip} of network '{network}'")]
pub struct AddressConflict {
    /// The network.
    pub network: Name,
    /// The address.
    pub ip: IpAddr,
    /// Its holder on this node.
    pub local: Holder,
    /// Its holder on another node.
    pub remote: Holder,
}

impl State {
    /// Adds endpoints of other nodes to a loaded state ([`State::load`]). Their addresses are not allocated to new
    /// endpoints of this node. An existing endpoint keeps its address: see [`Self::address_conflicts`].
    #[must_use]
    pub fn with_remote(mut self, endpoints: Vec<RemoteEndpoint>) -> Self {
        for endpoint in endpoints {
            if let Some(entry) = self.networks.get_mut(&endpoint.network) {
                entry.add_remote(&endpoint);
            }
            let network = endpoint.network.clone();
            self.remote.entry(network).or_default().push(endpoint);
        }
        self
    }

    /// Addresses that endpoints of two nodes have. This occurs if both endpoints are stored before either node has
    /// loaded the endpoint of the other node.
    pub fn address_conflicts(&self) -> impl Iterator<Item = AddressConflict> {
        self.networks.values().flat_map(|entry| {
            let remote = entry.remote.addresses.iter();
            remote.filter_map(|(ip, id)| {
                Some(AddressConflict {
                    network: entry.network.name.clone(),
                    ip: *ip,
                    local: entry.holders.get(ip)?.clone(),
                    remote: Holder::Remote(*id),
                })
            })
        })
    }
}
