//! The state in the words of the API.

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::broadcast;

use super::node::Node;
use crate::{
    api::v1,
    model::{GatewayMode, Network, PortMapping, Sandbox},
    plan,
};

impl Node {
    /// A network as users see it.
    pub(super) fn network(&self, network: &Network) -> v1::Network {
        v1::Network {
            name: network.name.to_string(),
            id: network.id.to_string(),
            driver: network.driver.into(),
            scope: v1::Scope::Local,
            subnets: network.subnets.iter().map(|subnet| subnet.prefix).collect(),
            gateways: network
                .subnets
                .iter()
                .map(|subnet| subnet.gateway)
                .collect(),
            mtu: if network.has_endpoints() {
                plan::mtu(network, &self.facts.facts)
            } else {
                network.mtu.unwrap_or(65_536)
            },
            vni: None,
            internal: network.internal,
            icc: network.icc,
            masquerade: network.masquerade,
            gateway_mode: network.gateway_mode.into(),
            sandboxes: self
                .state
                .members(&network.name)
                .map(ToString::to_string)
                .collect(),
            labels: network.labels.clone(),
        }
    }

    /// A sandbox as users see it.
    pub(super) fn sandbox(&self, sandbox: &Sandbox) -> v1::Sandbox {
        let endpoints = sandbox.endpoints.iter().map(|endpoint| {
            let network = self.state.network(&endpoint.network).ok();
            let subnets = network.into_iter().flat_map(|network| &network.subnets);
            let gateways = subnets.map(|subnet| subnet.gateway).collect();
            let mtu = network.map_or(0, |network| plan::mtu(network, &self.facts.facts));
            v1::Endpoint::of(endpoint, gateways, mtu)
        });
        v1::Sandbox {
            name: sandbox.name.to_string(),
            id: sandbox.id.to_string(),
            netns: sandbox.netns.clone(),
            network_mode: sandbox.mode.to_string(),
            hostname: sandbox.hostname.clone(),
            endpoints: endpoints.collect(),
            ports: self.ports(sandbox, &sandbox.ports),
        }
    }

    /// Published ports of a sandbox as users see them; none while it has no network to be reached through.
    pub(super) fn ports(&self, sandbox: &Sandbox, mappings: &[PortMapping]) -> Vec<v1::Port> {
        let Some((endpoint, network)) = self.state.port_carrier(sandbox) else {
            return Vec::new();
        };
        let address = |like: Option<IpAddr>| {
            let addresses = endpoint.addresses.iter().map(ipnet::IpNet::addr);
            let mut matching = addresses
                .clone()
                .filter(|ip| like.is_none_or(|like| like.is_ipv4() == ip.is_ipv4()));
            matching.next().or(addresses.clone().next())
        };
        mappings
            .iter()
            .filter_map(|mapping| {
                let like = mapping
                    .host_ip
                    .filter(|_| network.gateway_mode == GatewayMode::Nat);
                Some(v1::Port::of(
                    mapping,
                    &sandbox.name,
                    &network.name,
                    address(like)?,
                ))
            })
            .collect()
    }
}

/// Tells whoever listens.
pub(super) fn send(
    events: &broadcast::Sender<v1::Event>,
    action: v1::Action,
    object: v1::ObjectKind,
    name: &str,
    message: Option<String>,
) {
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // Fails only if nobody listens.
    let _ = events.send(v1::Event {
        time_ms,
        action,
        object,
        name: name.to_owned(),
        message,
    });
}
