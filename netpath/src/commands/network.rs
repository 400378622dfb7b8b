//! Commands on networks and their members.

use std::net::IpAddr;

use super::{Action, CommandError, Commands, NetworkView, ObjectKind, SandboxView};
use crate::model::{Name, request::NetworkRequest};

impl Commands {
    /// Every network, by name.
    pub async fn networks(&self) -> Vec<NetworkView> {
        let node = self.shared.node.lock().await;
        let networks = node.state.networks();
        networks.map(|network| node.network_view(network)).collect()
    }

    /// One network.
    ///
    /// # Errors
    /// If it does not exist.
    pub async fn network(&self, name: &Name) -> Result<NetworkView, CommandError> {
        let node = self.shared.node.lock().await;
        Ok(node.network_view(node.state.network(name)?))
    }

    /// Creates a network.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn create_network(
        &self,
        request: &NetworkRequest,
    ) -> Result<NetworkView, CommandError> {
        let mut node = self.shared.node.lock().await;
        let change = node
            .answer_with_routes(|state, env| state.create_network(request, env))
            .await?;
        node.make(&change).await?;
        let name = &request.name;
        self.emit(Action::Created, ObjectKind::Network, name.as_str(), None);
        Ok(node.network_view(node.state.network(name)?))
    }

    /// Removes a network that has no endpoint.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn remove_network(&self, name: &Name) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        node.request(|state, _| state.remove_network(name)).await?;
        self.emit(Action::Removed, ObjectKind::Network, name.as_str(), None);
        Ok(())
    }

    /// Connects a sandbox to a network.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn connect(
        &self,
        network: &Name,
        sandbox: &Name,
        ips: &[IpAddr],
    ) -> Result<SandboxView, CommandError> {
        let mut node = self.shared.node.lock().await;
        node.request(|state, env| state.connect(network, sandbox, ips, env))
            .await?;
        let name = sandbox.as_str();
        self.emit(Action::Connected, ObjectKind::Sandbox, name, None);
        Ok(node.sandbox_view(node.state.sandbox(sandbox)?))
    }

    /// Disconnects a sandbox from a network; its flows there expire at once.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn disconnect(
        &self,
        network: &Name,
        sandbox: &Name,
    ) -> Result<SandboxView, CommandError> {
        let mut node = self.shared.node.lock().await;
        node.request(|state, _| state.disconnect(network, sandbox))
            .await?;
        self.wake().sweep.notify_one();
        let name = sandbox.as_str();
        self.emit(Action::Disconnected, ObjectKind::Sandbox, name, None);
        Ok(node.sandbox_view(node.state.sandbox(sandbox)?))
    }
}
