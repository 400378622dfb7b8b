//! Requests that connect and disconnect sandboxes.

use std::net::IpAddr;

use super::{
    Env, RequestError,
    allocate::{Taken, Wanted, free_interface},
    publish::change,
};
use crate::model::{Change, Endpoint, Name, NetworkMode, Rate, Sandbox, State};

impl State {
    /// Connects a sandbox to another network. Its published ports stay with their endpoint, unless all its networks
    /// were internal.
    ///
    /// # Errors
    /// The sandbox is connected already, its mode excludes networks, or no address is available.
    pub fn connect(
        &self,
        network: &Name,
        sandbox: &Name,
        ips: &[IpAddr],
        rate: Option<Rate>,
        env: &mut Env<'_>,
    ) -> Result<Change, RequestError> {
        self.network(network)?;
        let before = self.sandbox(sandbox)?;
        if before.mode != NetworkMode::Network {
            return Err(RequestError::Mode {
                holder: sandbox.into(),
                verb: format!("join network '{network}'"),
                reason: format!("its network mode is {}", before.mode),
            });
        }
        if before.endpoint(network).is_some() {
            return Err(RequestError::Connected {
                sandbox: sandbox.clone(),
                network: network.clone(),
            });
        }
        let wanted = Wanted {
            sandbox: Some(sandbox),
            network,
            interface: free_interface(&before.endpoints, env.interfaces),
            ips,
            mac: None,
            owner: before.owner,
            rate,
        };
        let endpoint = self.allocate_endpoint(&wanted, &mut Taken::default(), env)?;
        let mut after = before.clone();
        after.endpoints.push(endpoint);
        let after = self.rearranged(before, after)?;
        Ok(change(before, after))
    }

    /// Disconnects a sandbox from a network. Its published ports move to its next network with external access; if
    /// there is none, they stay reserved and unreachable until it is connected to one.
    ///
    /// # Errors
    /// The sandbox is not connected, or its ports cannot move because the gateway modes of the networks differ.
    pub fn disconnect(&self, network: &Name, sandbox: &Name) -> Result<Change, RequestError> {
        self.network(network)?;
        let before = self.sandbox(sandbox)?;
        let mut after = before.clone();
        after
            .endpoints
            .retain(|endpoint| endpoint.network != *network);
        if after.endpoints.len() == before.endpoints.len() {
            return Err(RequestError::NotConnected {
                sandbox: sandbox.clone(),
                network: network.clone(),
            });
        }
        let after = self.rearranged(before, after)?;
        Ok(change(before, after))
    }

    /// Sorts endpoints in networks with external access before those in internal networks. The sort is stable.
    pub(super) fn put_external_first(&self, endpoints: &mut [Endpoint]) {
        endpoints.sort_by_key(|endpoint| self.is_internal(endpoint));
    }

    /// Whether the endpoint's network is internal.
    pub(in crate::model) fn is_internal(&self, endpoint: &Endpoint) -> bool {
        let entry = self.networks.get(&endpoint.network);
        entry.is_none_or(|entry| entry.network.internal)
    }

    /// The sandbox after a change of its endpoints: those in networks with external access first.
    pub(super) fn rearranged(
        &self,
        before: &Sandbox,
        mut after: Sandbox,
    ) -> Result<Sandbox, RequestError> {
        self.put_external_first(&mut after.endpoints);
        let moves = self.reserves_host_ports(before) != self.reserves_host_ports(&after);
        if moves && !before.ports.is_empty() {
            return Err(RequestError::PortsCannotMove {
                sandbox: before.name.clone(),
            });
        }
        Ok(after)
    }
}
