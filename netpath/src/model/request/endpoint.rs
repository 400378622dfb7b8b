//! Requests about endpoints without a sandbox.

use std::net::IpAddr;

use netpath_common::addr::MacAddr;

use super::{
    Env, RequestError,
    allocate::{Taken, Wanted, free_interface},
};
use crate::model::{Caller, Change, Endpoint, Id, Name, NetworkMode, Owner, State};

/// An endpoint to create, without a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRequest {
    /// Network.
    pub network: Name,
    /// Addresses, at most one per family; a free address is allocated for every other family of the network.
    pub ips: Vec<IpAddr>,
    /// MAC address of the container link; derived from the endpoint's id if `None`.
    pub mac: Option<MacAddr>,
    /// Name of the container link; the lowest free `ethN` if `None`.
    pub interface: Option<String>,
    /// Veth pair of another program; netpath creates one if `None`.
    pub adopt: Option<AdoptedVeth>,
    /// Owner of the endpoint.
    pub owner: Owner,
}

/// The host interface of a veth pair that another program has created, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedVeth {
    /// Interface name.
    pub name: String,
    /// Interface name of its bridge; `None` if it is not a port of a bridge.
    pub bridge: Option<String>,
}

impl State {
    /// Creates an endpoint without a sandbox. Its addresses and its MAC address are reserved; it has no devices and no
    /// programs until it is joined to a sandbox.
    ///
    /// # Errors
    /// The network does not exist, an address is in use, or the veth pair cannot be adopted.
    pub fn create_endpoint(
        &self,
        request: &EndpointRequest,
        env: &mut Env<'_>,
    ) -> Result<Change, RequestError> {
        self.check_adopted_veth(request)?;
        let interface = match &request.interface {
            Some(name) => check_interface(name)?,
            None => free_interface(&[], &[]),
        };
        let wanted = Wanted {
            sandbox: None,
            network: &request.network,
            interface,
            ips: &request.ips,
            mac: request.mac,
            owner: request.owner,
            rate: None,
        };
        let mut endpoint = self.allocate_endpoint(&wanted, &mut Taken::default(), env)?;
        endpoint.adopted = request.adopt.as_ref().map(|veth| veth.name.clone());
        Ok(Change::Endpoint {
            before: None,
            after: Some(Box::new(endpoint)),
        })
    }

    /// Removes an endpoint; one that is joined to a sandbox is disconnected.
    ///
    /// # Errors
    /// It does not exist, or the caller may not change it.
    pub fn remove_endpoint(&self, id: Id, caller: Caller) -> Result<Change, RequestError> {
        let (endpoint, sandbox) = self.endpoint(id)?;
        check_owner(endpoint, caller)?;
        match sandbox {
            Some(sandbox) => self.disconnect(&endpoint.network, sandbox),
            None => Ok(Change::Endpoint {
                before: Some(Box::new(endpoint.clone())),
                after: None,
            }),
        }
    }

    /// Joins an endpoint to a sandbox. `interfaces` are the other interfaces in the namespace of the sandbox.
    ///
    /// # Errors
    /// One of them does not exist, the endpoint is joined already, the sandbox is connected to its network already or
    /// cannot have endpoints, or the caller may not change them.
    pub fn join_endpoint(
        &self,
        id: Id,
        sandbox: &Name,
        interfaces: &[String],
        caller: Caller,
    ) -> Result<Change, RequestError> {
        let (endpoint, joined) = self.endpoint(id)?;
        check_owner(endpoint, caller)?;
        if let Some(other) = joined {
            return Err(RequestError::Joined {
                endpoint: id,
                sandbox: other.clone(),
            });
        }
        self.check_sandbox_owner(sandbox, caller)?;
        let before = self.sandbox(sandbox)?;
        if before.mode != NetworkMode::Network {
            return Err(RequestError::Mode {
                holder: sandbox.into(),
                verb: format!("join network '{}'", endpoint.network),
                reason: format!("its network mode is {}", before.mode),
            });
        }
        if before.endpoint(&endpoint.network).is_some() {
            return Err(RequestError::Connected {
                sandbox: sandbox.clone(),
                network: endpoint.network.clone(),
            });
        }
        if self.generations_left() == 0 {
            return Err(RequestError::Exhausted {
                what: "endpoint generation",
                capacity: u32::MAX,
            });
        }
        let mut joining = endpoint.clone();
        // Flows of an earlier membership have expired.
        joining.generation = self.generation() + 1;
        let mut others = before.endpoints.iter();
        if others.any(|other| other.interface == joining.interface)
            || interfaces.contains(&joining.interface)
        {
            joining.interface = free_interface(&before.endpoints, interfaces);
        }
        let mut after = before.clone();
        after.endpoints.push(joining);
        let after = self.rearranged(before, after)?;
        Ok(Change::Membership {
            endpoint: Box::new(endpoint.clone()),
            joins: true,
            before: Box::new(before.clone()),
            after: Box::new(after),
        })
    }

    /// Disconnects an endpoint from its sandbox; its addresses stay reserved.
    ///
    /// # Errors
    /// It does not exist or has no sandbox, or the caller may not change it.
    pub fn leave_endpoint(&self, id: Id, caller: Caller) -> Result<Change, RequestError> {
        let (endpoint, sandbox) = self.endpoint(id)?;
        check_owner(endpoint, caller)?;
        let Some(sandbox) = sandbox else {
            return Err(RequestError::NotJoined { endpoint: id });
        };
        let before = self.sandbox(sandbox)?;
        let mut after = before.clone();
        after.endpoints.retain(|other| other.id != id);
        let after = self.rearranged(before, after)?;
        Ok(Change::Membership {
            endpoint: Box::new(endpoint.clone()),
            joins: false,
            before: Box::new(before.clone()),
            after: Box::new(after),
        })
    }

    /// Refuses a caller that may not change the network.
    ///
    /// # Errors
    /// The network does not exist, or belongs to another owner.
    pub fn check_network_owner(&self, name: &Name, caller: Caller) -> Result<(), RequestError> {
        let owner = self.known_network(name)?.owner;
        owned("network", name.to_string(), owner, caller)
    }

    /// Refuses a caller that may not change the sandbox.
    ///
    /// # Errors
    /// The sandbox does not exist, or belongs to another owner.
    pub fn check_sandbox_owner(&self, name: &Name, caller: Caller) -> Result<(), RequestError> {
        let owner = self.sandbox(name)?.owner;
        owned("sandbox", name.to_string(), owner, caller)
    }

    fn check_adopted_veth(&self, request: &EndpointRequest) -> Result<(), RequestError> {
        let Some(veth) = &request.adopt else {
            return Ok(());
        };
        let refused = |reason: String| {
            Err(RequestError::AdoptVeth {
                name: veth.name.clone(),
                reason,
            })
        };
        let network = self.network(&request.network)?;
        let Some(bridge) = &network.adopted else {
            return refused(format!(
                "network '{}' does not use a bridge of another program",
                network.name
            ));
        };
        if veth.bridge.as_ref() != Some(bridge) {
            return refused(format!("it is not a port of bridge {bridge}"));
        }
        if request.mac.is_none() {
            return refused("the MAC address of its container link is not given".to_owned());
        }
        let mut endpoints = self.endpoints();
        match endpoints.find(|(other, _)| other.adopted.as_ref() == Some(&veth.name)) {
            Some((other, _)) => refused(format!("endpoint {} uses it", other.id)),
            None => Ok(()),
        }
    }
}

fn check_owner(endpoint: &Endpoint, caller: Caller) -> Result<(), RequestError> {
    owned("endpoint", endpoint.id.to_string(), endpoint.owner, caller)
}

fn owned(
    kind: &'static str,
    name: String,
    owner: Owner,
    caller: Caller,
) -> Result<(), RequestError> {
    if caller.may_change(owner) {
        return Ok(());
    }
    Err(RequestError::Owned { kind, name, owner })
}

/// Refuses a name that the kernel does not accept for an interface.
fn check_interface(name: &str) -> Result<String, RequestError> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
        return Err(RequestError::Interface {
            name: name.to_owned(),
        });
    }
    Ok(name.to_owned())
}
