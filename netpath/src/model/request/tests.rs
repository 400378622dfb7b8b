mod consistency;
mod deny;
mod endpoints;
mod networks;
mod ports;
mod sandboxes;

use std::path::Path;

use ipnet::IpNet;

use super::*;
use crate::model::{
    Change, Driver, GatewayMode, Network, PortMapping, PortSpec, Sandbox, State, parse_mac,
};

/// A node with the built-in networks, and an environment that the test sets.
struct Node {
    state: State,
    random: u64,
    connected: Vec<IpNet>,
    routed: Vec<IpNet>,
    pools: Vec<Pool>,
    listening: Vec<(Protocol, u16)>,
}

impl Node {
    fn new() -> Self {
        let mut node = Self {
            state: State::default(),
            random: 0,
            connected: Vec::new(),
            routed: Vec::new(),
            pools: vec!["172.20.0.0/14/24".parse().unwrap()],
            listening: Vec::new(),
        };
        while let Some(change) = node
            .ask(|state, env| state.missing_built_in(BuiltIn::All, env))
            .unwrap()
        {
            node.state.apply(&change).unwrap();
        }
        node
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&State, &mut Env<'_>) -> T) -> T {
        let random = &mut self.random;
        let listening = &self.listening;
        ask(
            &self.state,
            &mut Env {
                random: &mut || {
                    *random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    *random ^ (*random >> 32)
                },
                connected: &self.connected,
                routed: &self.routed,
                pools: &self.pools,
                listening: &|_, protocol, _, port| {
                    listening
                        .contains(&(protocol, port))
                        .then(|| "nginx (pid 7)".to_owned())
                },
                free_ports: (40_000, 40_999),
                tunnel_port: 4789,
                host_netns: Path::new("/proc/1/ns/net"),
                interfaces: &[],
            },
        )
    }

    fn made<E>(&mut self, change: Result<Change, E>) -> Result<Change, E> {
        if let Ok(change) = &change {
            self.state.apply(change).unwrap();
        }
        change
    }

    fn network(&mut self, request: NetworkRequest) -> Result<Network, RequestError> {
        let change = self.ask(|state, env| state.create_network(&request, env));
        match self.made(change)? {
            Change::Network {
                after: Some(network),
                ..
            } => Ok(*network),
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, request: SandboxRequest) -> Result<Sandbox, RequestError> {
        let change = self.ask(|state, env| state.create_sandbox(&request, env));
        self.made(change).map(after)
    }

    fn publish(&mut self, sandbox: &str, spec: &str) -> Result<Vec<PortMapping>, RequestError> {
        let specs = [spec.parse::<PortSpec>().unwrap()];
        let change = self.ask(|state, env| state.publish(&name(sandbox), &specs, &[], env));
        self.made(change).map(|change| after(change).ports)
    }

    fn unpublish(&mut self, sandbox: &str, spec: &str) -> Result<Vec<PortMapping>, RequestError> {
        let change = self
            .state
            .unpublish(&name(sandbox), &[spec.parse().unwrap()]);
        self.made(change).map(|change| after(change).ports)
    }

    fn connect(&mut self, network: &str, sandbox: &str) -> Result<Sandbox, RequestError> {
        let change =
            self.ask(|state, env| state.connect(&name(network), &name(sandbox), &[], None, env));
        self.made(change).map(after)
    }

    fn disconnect(&mut self, network: &str, sandbox: &str) -> Result<Sandbox, RequestError> {
        let change = self.state.disconnect(&name(network), &name(sandbox));
        self.made(change).map(after)
    }

    fn remove(&mut self, sandbox: &str) -> Result<(), RequestError> {
        let change = self.state.remove_sandbox(&name(sandbox));
        self.made(change).map(|_| ())
    }
}

fn after(change: Change) -> Sandbox {
    match change {
        Change::Sandbox {
            after: Some(sandbox),
            ..
        } => *sandbox,
        other => panic!("{other:?}"),
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn net(text: &str) -> NetworkRequest {
    NetworkRequest::new(name(text))
}

fn sandbox(text: &str) -> SandboxRequest {
    SandboxRequest {
        name: Some(name(text)),
        ..SandboxRequest::new(Source::Created {
            directory: "/run/netpath/netns".into(),
        })
    }
}

fn within(text: &str, networks: &[&str]) -> SandboxRequest {
    SandboxRequest {
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        ..sandbox(text)
    }
}

fn with_ports(text: &str, ports: &[&str]) -> SandboxRequest {
    SandboxRequest {
        ports: ports.iter().map(|text| text.parse().unwrap()).collect(),
        ..sandbox(text)
    }
}

fn networks_of(sandbox: &Sandbox) -> Vec<(&str, &str)> {
    let endpoints = sandbox.endpoints.iter();
    endpoints
        .map(|endpoint| (endpoint.network.as_str(), endpoint.interface.as_str()))
        .collect()
}
