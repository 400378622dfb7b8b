//! Consistency checks of objects that a store or a change contains.

use std::collections::BTreeSet;

use netpath_common::maps::{MAX_ENDPOINTS, MAX_NETWORKS};

use super::{PortIndex, State};
use crate::model::{Endpoint, Name, Network, NetworkMode, Sandbox};

/// Why objects or a change do not fit the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// An object of the store, or of a change, contradicts the other objects.
    #[error("{object} contradicts the other objects: {reason}")]
    Contradiction {
        /// Kind and name.
        object: String,
        /// Reason, as text for users.
        reason: String,
    },
    /// The object differs from the one that the change starts from.
    #[error("'{object}' has changed; repeat the request")]
    Stale {
        /// Name.
        object: Name,
    },
}

impl StateError {
    pub(super) fn contradiction(object: String, reason: String) -> Self {
        Self::Contradiction { object, reason }
    }

    pub(super) fn stale(object: &Name) -> Self {
        Self::Stale {
            object: object.clone(),
        }
    }
}

impl State {
    pub(super) fn check_network(&self, network: &Network) -> Result<(), StateError> {
        self.network_fault(network).map_or(Ok(()), |reason| {
            let object = format!("network '{}'", network.name);
            Err(StateError::contradiction(object, reason))
        })
    }

    pub(super) fn check_sandbox(&self, sandbox: &Sandbox) -> Result<(), StateError> {
        let faults = [
            self.identity_fault(sandbox),
            self.endpoints_fault(sandbox),
            self.ports_fault(sandbox),
        ];
        faults
            .into_iter()
            .flatten()
            .next()
            .map_or(Ok(()), |reason| {
                let object = format!("sandbox '{}'", sandbox.name);
                Err(StateError::contradiction(object, reason))
            })
    }

    fn network_fault(&self, network: &Network) -> Option<String> {
        if self.networks.contains_key(&network.name) {
            return Some("its name is taken".to_owned());
        }
        if !self.is_new(network.id) {
            return Some(format!("its id {} is taken", network.id));
        }
        if network.has_endpoints() != (network.index != 0) || network.index >= MAX_NETWORKS {
            return Some(format!("its number {} is invalid", network.index));
        }
        if self.network_numbers.contains(network.index.into()) {
            return Some(format!("its number {} is taken", network.index));
        }
        for (position, subnet) in network.subnets.iter().enumerate() {
            if subnet.prefix != subnet.prefix.trunc() || !subnet.prefix.contains(&subnet.gateway) {
                return Some(format!(
                    "gateway {} is not in subnet {}, or the subnet has host bits",
                    subnet.gateway, subnet.prefix
                ));
            }
            if let Some((prefix, owner)) = self.prefixes.overlapping(&subnet.prefix) {
                return Some(format!(
                    "its subnet {} overlaps {prefix} of network '{owner}'",
                    subnet.prefix
                ));
            }
            let same =
                |other: &super::super::Subnet| other.gateway.is_ipv4() == subnet.gateway.is_ipv4();
            if network.subnets.iter().take(position).any(same) {
                return Some("it has two subnets of one family".to_owned());
            }
        }
        None
    }

    fn identity_fault(&self, sandbox: &Sandbox) -> Option<String> {
        if self.sandboxes.contains_key(&sandbox.name) {
            return Some("its name is taken".to_owned());
        }
        if !self.is_new(sandbox.id) {
            return Some(format!("its id {} is taken", sandbox.id));
        }
        if let NetworkMode::Container(target) = &sandbox.mode
            && !self.sandboxes.contains_key(target)
        {
            return Some(format!(
                "sandbox '{target}', whose namespace it uses, does not exist"
            ));
        }
        if sandbox.mode != NetworkMode::Network
            && !(sandbox.endpoints.is_empty() && sandbox.ports.is_empty())
        {
            return Some(format!(
                "mode {} excludes endpoints and ports",
                sandbox.mode
            ));
        }
        let namespace = sandbox.source.adopted();
        let owner = namespace.and_then(|namespace| self.adopted.get(&namespace));
        owner.map(|owner| format!("sandbox '{owner}' has adopted its namespace"))
    }

    fn endpoints_fault(&self, sandbox: &Sandbox) -> Option<String> {
        let mut seen = Seen::default();
        seen.ids.insert(sandbox.id.device());
        sandbox.endpoints.iter().find_map(|endpoint| {
            let fault = self
                .endpoint_fault(endpoint)
                .or_else(|| seen.fault(endpoint));
            fault.map(|reason| format!("endpoint {}: {reason}", endpoint.id))
        })
    }

    pub(super) fn endpoint_fault(&self, endpoint: &Endpoint) -> Option<String> {
        let Some(entry) = self.networks.get(&endpoint.network) else {
            return Some(format!("network '{}' does not exist", endpoint.network));
        };
        if !entry.network.has_endpoints() {
            return Some(format!("network '{}' has no endpoints", endpoint.network));
        }
        if !self.is_new(endpoint.id) {
            return Some("its id is taken".to_owned());
        }
        let slot = endpoint.slot;
        if slot == 0 || slot >= MAX_ENDPOINTS || self.slots.contains(slot.into()) {
            return Some(format!("slot {slot} is taken or invalid"));
        }
        if let Some(owner) = entry.macs.get(&endpoint.mac) {
            return Some(format!("{owner} has MAC address {}", endpoint.mac));
        }
        endpoint
            .addresses
            .iter()
            .find_map(|address| match entry.check_address(address.addr()) {
                None => Some(format!("its network has no subnet for {address}")),
                Some(checked) => checked.err().map(|error| error.to_string()),
            })
    }

    fn ports_fault(&self, sandbox: &Sandbox) -> Option<String> {
        let mut lists = BTreeSet::new();
        let mut own = PortIndex::default();
        let reserves = self.reserves_host_ports(sandbox);
        sandbox.ports.iter().find_map(|mapping| {
            let list = mapping.allow_list;
            if (list == 0) != mapping.allow.is_empty()
                || self.allow_lists.contains(list.into())
                || (list != 0 && !lists.insert(list))
            {
                return Some(format!(
                    "allow-list {list} of port {mapping} is taken or invalid"
                ));
            }
            let ports = (mapping.host_port, mapping.host_port_end);
            let lengths = (
                ports.1.checked_sub(ports.0),
                mapping
                    .container_port_end
                    .checked_sub(mapping.container_port),
            );
            if ports.0 == 0 || lengths.0.is_none() || lengths.0 != lengths.1 {
                return Some(format!("port {mapping} is invalid"));
            }
            let conflict =
                |index: &PortIndex| index.conflict(mapping.protocol, mapping.host_ip, ports);
            let published = conflict(&self.ports).filter(|_| reserves);
            let occupied = published.or_else(|| conflict(&own));
            own.insert(mapping, &sandbox.name);
            let occupied = occupied?;
            Some(format!(
                "sandbox '{}' publishes port {mapping}",
                occupied.owner
            ))
        })
    }
}

/// Properties that must differ between the endpoints of one sandbox.
#[derive(Default)]
struct Seen {
    ids: BTreeSet<u64>,
    slots: BTreeSet<u32>,
    networks: BTreeSet<Name>,
    interfaces: BTreeSet<String>,
}

impl Seen {
    fn fault(&mut self, endpoint: &Endpoint) -> Option<String> {
        if !self.ids.insert(endpoint.id.device()) {
            Some("its id is taken".to_owned())
        } else if !self.slots.insert(endpoint.slot) {
            Some(format!("slot {} is taken", endpoint.slot))
        } else if !self.networks.insert(endpoint.network.clone()) {
            Some(format!(
                "it is the second endpoint in network '{}'",
                endpoint.network
            ))
        } else if !self.interfaces.insert(endpoint.interface.clone()) {
            Some(format!("interface {} is taken", endpoint.interface))
        } else {
            None
        }
    }
}
