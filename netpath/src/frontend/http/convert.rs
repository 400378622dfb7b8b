//! From results of commands to wire types.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use super::v1;
use crate::{
    commands::{
        self, DenialView, EndpointView, InterfaceView, NetworkView, NodeState, NodeView, PortView,
        ProgramStatus, ReconcileStatus, SandboxView, Status,
    },
    datapath::read::{FlowTable, MapUse, SandboxFlows},
};

const SECOND: u64 = 1_000_000_000;

impl From<NetworkView> for v1::Network {
    fn from(view: NetworkView) -> Self {
        let network = view.network;
        let subnets = network.subnets.iter();
        Self {
            name: network.name.to_string(),
            id: network.id.to_string(),
            driver: network.driver.into(),
            scope: network.driver.scope().into(),
            subnets: subnets.clone().map(|subnet| subnet.prefix).collect(),
            gateways: subnets.map(|subnet| subnet.gateway).collect(),
            mtu: view.mtu,
            vni: network.overlay.map(|overlay| overlay.vni.number()),
            encap: network.overlay.map(|overlay| overlay.encap.to_string()),
            internal: network.internal,
            icc: network.icc,
            masquerade: network.masquerade,
            gateway_mode: network.gateway_mode.into(),
            owner: network.owner,
            adopted: network.adopted,
            sandboxes: view.sandboxes.iter().map(ToString::to_string).collect(),
            labels: network.labels,
            warnings: view.warnings,
        }
    }
}

impl From<SandboxView> for v1::Sandbox {
    fn from(view: SandboxView) -> Self {
        let sandbox = view.sandbox;
        Self {
            name: sandbox.name.to_string(),
            id: sandbox.id.to_string(),
            netns: sandbox.netns,
            netns_cookie: view
                .adopted
                .map(|namespace| namespace.cookie)
                .filter(|cookie| *cookie != 0),
            network_mode: sandbox.mode.to_string(),
            hostname: sandbox.hostname,
            forwarding: sandbox.forwarding,
            owner: sandbox.owner,
            state: match view.pid {
                Some(_) => "running".to_owned(),
                None => "created".to_owned(),
            },
            pid: view.pid,
            started_pid: sandbox
                .process
                .map(|process| process.pid)
                .filter(|pid| view.pid == Some(*pid)),
            endpoints: view.endpoints.into_iter().map(Into::into).collect(),
            ports: view.ports.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<DenialView> for v1::Denial {
    fn from(view: DenialView) -> Self {
        Self {
            cidr: view.prefix,
            // Rounded up: 0 would mean that the entry has expired.
            expires_s: view
                .left
                .map(|left| left.as_nanos().div_ceil(SECOND.into()) as u64),
            configured: view.configured,
        }
    }
}

impl From<EndpointView> for v1::Endpoint {
    fn from(view: EndpointView) -> Self {
        let endpoint = view.endpoint;
        Self {
            id: endpoint.id.to_string(),
            network: endpoint.network.to_string(),
            host_interface: endpoint.host_interface(),
            sandbox: view.sandbox.as_ref().map(ToString::to_string),
            owner: endpoint.owner,
            adopted: endpoint.adopted.is_some(),
            interface: endpoint.interface,
            mac: endpoint.mac.to_string(),
            addresses: endpoint.addresses,
            gateways: view.gateways,
            mtu: view.mtu,
            rate: endpoint.rate.map(u64::from),
        }
    }
}

impl From<PortView> for v1::Port {
    fn from(view: PortView) -> Self {
        let mapping = view.mapping;
        Self {
            sandbox: view.sandbox.to_string(),
            network: view.network.to_string(),
            protocol: mapping.protocol.into(),
            host_ip: mapping.host_ip,
            families: v1::AddressFamily::served(mapping.host_ip, &view.addresses),
            host_port: mapping.host_port,
            host_port_end: mapping.host_port_end,
            container_ip: view.container_ip,
            container_port: mapping.container_port,
            container_port_end: mapping.container_port_end,
            allow: mapping.allow,
            owner: Some(view.owner),
        }
    }
}

impl From<Status> for v1::Status {
    fn from(status: Status) -> Self {
        let timers = timers(&status.flows);
        Self {
            node: status.node,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: status.ready,
            nodes: status.nodes.into_iter().map(Into::into).collect(),
            uplinks: status.uplinks,
            interfaces: status.interfaces.into_iter().map(Into::into).collect(),
            store: v1::Store {
                kind: status.store.kind,
                reachable: status.store.reachable,
                writable: status.store.writable,
            },
            programs: status.programs.into_iter().map(Into::into).collect(),
            maps: status.maps.into_iter().map(Into::into).collect(),
            degraded: status.degraded,
            last_reconcile: status.last_reconcile.map(Into::into),
            features: status.features,
            flows: Some(status.flows.into()),
            timers,
        }
    }
}

impl From<InterfaceView> for v1::Interface {
    fn from(interface: InterfaceView) -> Self {
        Self {
            name: interface.name,
            role: interface.role.to_owned(),
            why: interface.why,
        }
    }
}

impl From<NodeView> for v1::Node {
    fn from(node: NodeView) -> Self {
        Self {
            name: node.name.to_string(),
            addresses: node.addresses,
            version: node.version,
            state: match node.state {
                NodeState::Ready => "ready".to_owned(),
                NodeState::Unreachable => "unreachable".to_owned(),
                NodeState::Removed => "removed".to_owned(),
            },
            networks: node.networks.iter().map(ToString::to_string).collect(),
            last_seen_s: node.last_seen.as_secs(),
        }
    }
}

impl From<ProgramStatus> for v1::Program {
    fn from(program: ProgramStatus) -> Self {
        Self {
            name: program.name,
            hook: program.hook,
            interface: program.interface,
            attached: program.attached,
            mode: Some(program.mode.to_owned()),
        }
    }
}

impl From<ReconcileStatus> for v1::Reconcile {
    fn from(last: ReconcileStatus) -> Self {
        Self {
            age_s: last.age.as_secs(),
            duration_ms: u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX),
            operations: last.operations as u64,
            failed: last.failed as u64,
        }
    }
}

impl From<MapUse> for v1::MapInfo {
    fn from(map: MapUse) -> Self {
        Self {
            name: map.name,
            kind: map.kind.to_owned(),
            entries: map.entries,
            max_entries: map.max_entries,
            bytes: map.bytes,
        }
    }
}

impl From<FlowTable> for v1::Flows {
    fn from(table: FlowTable) -> Self {
        Self {
            entries: table.entries,
            capacity: table.capacity,
            half_open_budget: table.half_open_budget,
            per_sandbox_limit: table.per_sandbox_limit,
            bytes_per_flow: table.bytes_per_flow,
            top: table.top.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<SandboxFlows> for v1::SandboxFlows {
    fn from(sandbox: SandboxFlows) -> Self {
        Self {
            sandbox: sandbox.sandbox,
            flows: sandbox.flows,
        }
    }
}

impl From<commands::Event> for v1::Event {
    fn from(event: commands::Event) -> Self {
        use commands::{Action, ObjectKind};
        let time = event.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            action: match event.action {
                Action::Created => v1::Action::Created,
                Action::Removed => v1::Action::Removed,
                Action::Connected => v1::Action::Connected,
                Action::Disconnected => v1::Action::Disconnected,
                Action::Published => v1::Action::Published,
                Action::Unpublished => v1::Action::Unpublished,
                Action::Repaired => v1::Action::Repaired,
            },
            object: match event.object {
                ObjectKind::Network => v1::ObjectKind::Network,
                ObjectKind::Sandbox => v1::ObjectKind::Sandbox,
                ObjectKind::Endpoint => v1::ObjectKind::Endpoint,
                ObjectKind::Port => v1::ObjectKind::Port,
                ObjectKind::Denial => v1::ObjectKind::Denial,
                ObjectKind::Node => v1::ObjectKind::Node,
            },
            name: event.name,
            message: event.message,
        }
    }
}

/// Idle limits in seconds by the names of the settings: integers where the limit is a whole number of seconds.
pub(crate) fn timers(table: &FlowTable) -> BTreeMap<String, serde_json::Number> {
    let timers = table.timers.iter();
    timers
        .filter_map(|(name, limit)| Some(((*name).to_owned(), seconds(*limit)?)))
        .collect()
}

fn seconds(nanoseconds: u64) -> Option<serde_json::Number> {
    if nanoseconds.is_multiple_of(SECOND) {
        Some((nanoseconds / SECOND).into())
    } else {
        serde_json::Number::from_f64(nanoseconds as f64 / SECOND as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_integers() {
        let text = |nanoseconds| seconds(nanoseconds).unwrap().to_string();
        assert_eq!(text(86_400 * SECOND), "86400");
        assert_eq!(text(SECOND / 4), "0.25");
    }
}
