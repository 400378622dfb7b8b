//! Commands on published ports.

use ipnet::IpNet;

use super::{Action, CommandError, Commands, ObjectKind, PortView};
use crate::model::{Caller, Change, Name, PortSpec};

impl Commands {
    /// Published ports of one sandbox, or of all sandboxes.
    ///
    /// # Errors
    /// If the sandbox does not exist.
    pub async fn ports(&self, sandbox: Option<&Name>) -> Result<Vec<PortView>, CommandError> {
        let node = self.shared.node.lock().await;
        Ok(match sandbox {
            Some(name) => node.port_views(node.state().sandbox(name)?),
            None => {
                let sandboxes = node.state().sandboxes();
                let ports = sandboxes.flat_map(|sandbox| node.port_views(sandbox));
                ports.collect()
            }
        })
    }

    /// Publishes ports, all or none. Returns the ports of this request only.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn publish(
        &self,
        sandbox: &Name,
        specs: &[PortSpec],
        allow: &[IpNet],
        caller: Caller,
    ) -> Result<Vec<PortView>, CommandError> {
        let mut node = self.shared.node.lock().await;
        let change = node
            .request(|state, env| {
                state.check_sandbox_owner(sandbox, caller)?;
                state.publish(sandbox, specs, allow, env)
            })
            .await?;
        let name = sandbox.as_str();
        self.emit(Action::Published, ObjectKind::Port, name, None);
        let known = match &change {
            Change::Sandbox {
                before: Some(before),
                ..
            } => before.ports.len(),
            _ => 0,
        };
        let ports = node.port_views(change.new_sandbox()?);
        Ok(ports.into_iter().skip(known).collect())
    }

    /// Withdraws ports, all or none; their flows expire at once.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn unpublish(
        &self,
        sandbox: &Name,
        specs: &[PortSpec],
        caller: Caller,
    ) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        node.request(|state, _| {
            state.check_sandbox_owner(sandbox, caller)?;
            state.unpublish(sandbox, specs)
        })
        .await?;
        self.wake().sweep.notify_one();
        let name = sandbox.as_str();
        self.emit(Action::Unpublished, ObjectKind::Port, name, None);
        Ok(())
    }
}
