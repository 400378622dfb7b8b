//! Published ports of containers.

use std::net::IpAddr;

use super::{
    CALLER, companion::Companion, inspect::Ports, network::ID_LABEL, ports::any_addresses,
};
use crate::{
    commands::{CommandError, SandboxView},
    model::{Name, Owner, PortSpec},
};

impl Companion {
    /// Publishes the ports of every container, and withdraws those that the engine does not publish.
    pub(super) async fn publish_ports(&mut self) {
        for view in self.commands.sandboxes().await {
            if view.sandbox.owner != Owner::Docker {
                continue;
            }
            let Some(wanted) = self.wanted_ports(&view).await else {
                continue;
            };
            let current: Vec<PortSpec> = view.sandbox.ports.iter().map(Into::into).collect();
            let added = missing(&wanted.specs, &current);
            let removed = match wanted.complete {
                true => missing(&current, &wanted.specs),
                false => Vec::new(),
            };
            let name = &view.sandbox.name;
            if !removed.is_empty()
                && let Err(error) = self.commands.unpublish(name, &removed, CALLER).await
            {
                self.problems
                    .note(format!("ports of sandbox '{name}'"), error);
            }
            self.publish(name, &added).await;
        }
    }

    /// The ports of a container that its first network can publish; `None` if nothing is known of the container.
    async fn wanted_ports(&mut self, view: &SandboxView) -> Option<Ports> {
        let short = view.sandbox.name.as_str().strip_prefix("docker-")?;
        let id = self.containers.full_id(short)?.to_owned();
        let Some(endpoint) = view.endpoints.first() else {
            return Some(Ports::none());
        };
        let network = self
            .commands
            .network(&endpoint.endpoint.network)
            .await
            .ok()?;
        if network.network.internal {
            return Some(Ports::none());
        }
        let in_engine = network.network.labels.get(ID_LABEL);
        let in_engine = in_engine.and_then(|id| self.networks.get(id));
        let any = any_addresses(in_engine.and_then(|network| network.option("host_binding_ipv4")));
        let mut ports = self.containers.ports(&id, &view.sandbox.netns, &any);
        if !ports.complete {
            self.containers.request_once(&id);
        }
        let is_reachable = |spec: &PortSpec| {
            let has_address = |ip: IpAddr| endpoint.endpoint.address(ip).is_some();
            spec.host_ip.is_none_or(has_address)
        };
        ports.specs.retain(is_reachable);
        Some(ports)
    }

    /// Publishes ports; if one of them is refused, the others nevertheless.
    async fn publish(&mut self, name: &Name, specs: &[PortSpec]) {
        if specs.is_empty() {
            return;
        }
        match self.commands.publish(name, specs, &[], CALLER).await {
            Ok(_) => {}
            Err(CommandError::Request(_)) if specs.len() > 1 => {
                for spec in specs {
                    let one = std::slice::from_ref(spec);
                    if let Err(error) = self.commands.publish(name, one, &[], CALLER).await {
                        self.problems
                            .note(format!("port {spec} of sandbox '{name}'"), error);
                    }
                }
            }
            Err(error) => self
                .problems
                .note(format!("ports of sandbox '{name}'"), error),
        }
    }
}

/// The elements of `wanted` that are not in `present`.
fn missing(wanted: &[PortSpec], present: &[PortSpec]) -> Vec<PortSpec> {
    let absent = |spec: &&PortSpec| !present.contains(spec);
    wanted.iter().filter(absent).cloned().collect()
}
