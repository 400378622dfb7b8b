//! Commands on endpoints, which may exist before their sandbox.

use std::net::IpAddr;

use netpath_common::addr::MacAddr;

use super::{Action, CommandError, Commands, EndpointView, Node, ObjectKind, overlay::Wanted};
use crate::{
    model::{
        Caller, Id, Name,
        request::{AdoptedVeth, EndpointRequest, RequestError},
    },
    plan::AdoptedDevice,
};

/// An endpoint to create, without a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Name of the network.
    pub network: Name,
    /// Addresses, at most one per family; a free address is allocated for every other family of the network.
    pub ips: Vec<IpAddr>,
    /// MAC address of the container link; derived from the endpoint's id if `None`.
    pub mac: Option<MacAddr>,
    /// Name of the container link; the lowest free `ethN` if `None`.
    pub interface: Option<String>,
    /// Host interface of a veth pair that another program has created; netpath creates one if `None`.
    pub host_interface: Option<String>,
}

impl Commands {
    /// Every endpoint; those with a sandbox come first.
    pub async fn endpoints(&self) -> Vec<EndpointView> {
        let node = self.shared.node.lock().await;
        let endpoints = node.state().endpoints();
        endpoints
            .map(|(endpoint, sandbox)| node.endpoint_view(endpoint, sandbox))
            .collect()
    }

    /// One endpoint.
    ///
    /// # Errors
    /// If it does not exist.
    pub async fn endpoint(&self, id: Id) -> Result<EndpointView, CommandError> {
        self.shared.node.lock().await.view_of_endpoint(id)
    }

    /// Creates an endpoint without a sandbox. Its addresses are reserved; it gets devices and programs when it is
    /// joined.
    ///
    /// # Errors
    /// The request is refused, or the store cannot be written.
    pub async fn create_endpoint(
        &self,
        spec: EndpointSpec,
        caller: Caller,
    ) -> Result<EndpointView, CommandError> {
        let mut node = self.shared.node.lock().await;
        let adopt = match &spec.host_interface {
            Some(name) => Some(node.resolve_veth(name).await?),
            None => None,
        };
        let request = EndpointRequest {
            network: spec.network,
            ips: spec.ips,
            mac: spec.mac,
            interface: spec.interface,
            adopt,
            owner: caller.owner,
        };
        let wanted = Wanted::one(&request.network, &request.ips);
        let change = node
            .request_endpoints(&wanted, &[], |state, env| {
                state.create_endpoint(&request, env)
            })
            .await?;
        let id = change.new_endpoint()?.id;
        self.emit(Action::Created, ObjectKind::Endpoint, &id.to_string(), None);
        node.view_of_endpoint(id)
    }

    /// Removes an endpoint; one that is joined to a sandbox is disconnected, and its flows expire at once.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn remove_endpoint(&self, id: Id, caller: Caller) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        node.request(|state, _| state.remove_endpoint(id, caller))
            .await?;
        node.release_unused().await;
        self.wake().sweep.notify_one();
        let name = id.to_string();
        self.emit(Action::Removed, ObjectKind::Endpoint, &name, None);
        Ok(())
    }

    /// Joins an endpoint to a sandbox.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn join_endpoint(
        &self,
        id: Id,
        sandbox: &Name,
        caller: Caller,
    ) -> Result<EndpointView, CommandError> {
        let mut node = self.shared.node.lock().await;
        let interfaces = node.interfaces_of(sandbox).await?;
        node.request(|state, _| state.join_endpoint(id, sandbox, &interfaces, caller))
            .await?;
        let name = sandbox.as_str();
        self.emit(Action::Connected, ObjectKind::Sandbox, name, None);
        node.view_of_endpoint(id)
    }

    /// Disconnects an endpoint from its sandbox. Its flows expire at once; its addresses stay reserved.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn leave_endpoint(
        &self,
        id: Id,
        caller: Caller,
    ) -> Result<EndpointView, CommandError> {
        let mut node = self.shared.node.lock().await;
        let change = node
            .request(|state, _| state.leave_endpoint(id, caller))
            .await?;
        self.wake().sweep.notify_one();
        if let (Some(sandbox), _) = change.sandboxes() {
            let name = sandbox.name.as_str();
            self.emit(Action::Disconnected, ObjectKind::Sandbox, name, None);
        }
        node.view_of_endpoint(id)
    }
}

impl Node {
    fn view_of_endpoint(&self, id: Id) -> Result<EndpointView, CommandError> {
        let (endpoint, sandbox) = self.state().endpoint(id)?;
        Ok(self.endpoint_view(endpoint, sandbox))
    }

    /// Reads the veth pair of another program from the kernel, and adds it to the facts of the node.
    async fn resolve_veth(&mut self, name: &str) -> Result<AdoptedVeth, CommandError> {
        let refused = |reason: &str| RequestError::AdoptVeth {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let kernel = &self.reconciler.kernel.kernel;
        let link = kernel.link(name).await?;
        let link = link.ok_or_else(|| refused("this host has no such interface"))?;
        let mac = link.mac.filter(|_| link.kind.as_deref() == Some("veth"));
        let mac = mac.ok_or_else(|| refused("the interface is not one end of a veth pair"))?;
        let bridge = match link.master {
            Some(index) => kernel.link_by_index(index).await?,
            None => None,
        };
        let device = AdoptedDevice { mac, mtu: link.mtu };
        self.facts.facts.adopted.insert(name.to_owned(), device);
        Ok(AdoptedVeth {
            name: name.to_owned(),
            bridge: bridge.map(|bridge| bridge.name),
        })
    }
}
