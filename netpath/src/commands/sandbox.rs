//! Commands on sandboxes.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::addr::MacAddr;

use super::{
    Action, CommandError, Commands, NamespaceChoice, ObjectKind, SandboxView,
    ended::running_process,
    namespace::{identify_process, interfaces_at},
    overlay::Wanted,
};
use crate::model::{
    Caller, Name, PortSpec, Rate,
    request::{NetworkChoice, SandboxRequest},
};

/// A sandbox to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSpec {
    /// Name; generated if `None`.
    pub name: Option<Name>,
    /// Networks; `bridge` if empty.
    pub networks: Vec<NetworkChoice>,
    /// Ports to publish.
    pub ports: Vec<PortSpec>,
    /// Allow-list of the ports; every source is allowed if empty.
    pub allow: Vec<IpNet>,
    /// Addresses in the first network, at most one per family.
    pub ips: Vec<IpAddr>,
    /// MAC address in the first network; derived from the endpoint's id if `None`.
    pub mac: Option<MacAddr>,
    /// Host name; the name of the sandbox if `None`.
    pub hostname: Option<String>,
    /// Source of its namespace.
    pub namespace: NamespaceChoice,
    /// PID of a process; the sandbox is removed when that process ends.
    pub process: Option<i32>,
    /// Limit of each direction of each endpoint.
    pub rate: Option<Rate>,
    /// Whether it forwards packets for others.
    pub forwarding: bool,
    /// Whether the sandbox has no network if `networks` is empty, instead of `bridge`. Endpoints join it later.
    pub unconnected: bool,
}

impl Commands {
    /// Every sandbox, by name.
    pub async fn sandboxes(&self) -> Vec<SandboxView> {
        let node = self.shared.node.lock().await;
        let sandboxes = node.state().sandboxes();
        sandboxes
            .map(|sandbox| node.sandbox_view(sandbox))
            .collect()
    }

    /// One sandbox.
    ///
    /// # Errors
    /// If it does not exist.
    pub async fn sandbox(&self, name: &Name) -> Result<SandboxView, CommandError> {
        let node = self.shared.node.lock().await;
        Ok(node.sandbox_view(node.state().sandbox(name)?))
    }

    /// Creates a sandbox, or adopts a namespace.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn create_sandbox(
        &self,
        spec: SandboxSpec,
        caller: Caller,
    ) -> Result<SandboxView, CommandError> {
        let request = SandboxRequest {
            name: spec.name,
            networks: spec.networks,
            ports: spec.ports,
            allow: spec.allow,
            ips: spec.ips,
            mac: spec.mac,
            hostname: spec.hostname,
            source: self.resolve_namespace(&spec.namespace)?,
            process: spec.process.map(identify_process).transpose()?,
            owner: caller.owner,
            rate: spec.rate,
            forwarding: spec.forwarding,
            unconnected: spec.unconnected,
        };
        let mut node = self.shared.node.lock().await;
        let interfaces = interfaces_at(&request.source).await?;
        let wanted = Wanted::of(&request);
        let change = node
            .request_endpoints(&wanted, &interfaces, |state, env| {
                state.create_sandbox(&request, env)
            })
            .await?;
        self.wake().sandboxes.notify_one();
        let sandbox = change.new_sandbox()?;
        let name = sandbox.name.as_str();
        self.emit(Action::Created, ObjectKind::Sandbox, name, None);
        Ok(node.sandbox_view(sandbox))
    }

    /// Removes a sandbox with its endpoints and ports; its flows expire at once. With [`Caller::force`] the process of
    /// the sandbox may run; it has no network afterwards.
    ///
    /// # Errors
    /// The request is refused, the process of the sandbox runs, or the change failed and was reversed.
    pub async fn remove_sandbox(&self, name: &Name, caller: Caller) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        node.state().check_sandbox_owner(name, caller)?;
        if let Some(process) = running_process(node.state().sandbox(name)?)
            && !caller.force
        {
            return Err(CommandError::Running {
                name: name.clone(),
                pid: process.pid,
            });
        }
        node.request(|state, _| state.remove_sandbox(name)).await?;
        node.release_unused().await;
        self.wake().sweep.notify_one();
        self.wake().sandboxes.notify_one();
        self.emit(Action::Removed, ObjectKind::Sandbox, name.as_str(), None);
        Ok(())
    }
}
