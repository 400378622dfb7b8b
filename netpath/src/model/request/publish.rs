//! Requests that publish and withdraw ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::maps::MAX_ALLOW;

use super::{Env, RequestError};
use crate::{
    ipam::Ranges,
    model::{
        Change, Endpoint, GatewayMode, Name, Network, NetworkMode, PortMapping, PortSpec, Protocol,
        Sandbox, State, state::PortIndex,
    },
};

/// Largest number of mappings that an error lists.
const SHOWN: usize = 10;

/// Largest number of allowed sources of one request.
const MAX_SOURCES: usize = 1024;

impl State {
    /// Publishes ports of a sandbox, all of them or none.
    ///
    /// # Errors
    /// A port is published by another sandbox or a program listens on it (the error names the owner), none is free,
    /// or the sandbox cannot publish ports.
    pub fn publish(
        &self,
        sandbox: &Name,
        specs: &[PortSpec],
        allow: &[IpNet],
        env: &mut Env<'_>,
    ) -> Result<Change, RequestError> {
        let before = self.sandbox(sandbox)?;
        let mut after = before.clone();
        after
            .ports
            .extend(self.map_ports(before, specs, allow, env)?);
        Ok(change(before, after))
    }

    /// Withdraws published ports, all of them or none. A specification without host address and host port withdraws
    /// every mapping to its container ports.
    ///
    /// # Errors
    /// One of them is not published; the error lists the published ports.
    pub fn unpublish(&self, sandbox: &Name, specs: &[PortSpec]) -> Result<Change, RequestError> {
        let before = self.sandbox(sandbox)?;
        let routed = !self.reserves_host_ports(before);
        let published = Published::of(&before.ports);
        let mut removed = BTreeSet::new();
        for spec in specs {
            let matching = published.matching(spec, &before.ports, routed);
            if matching.is_empty() {
                return Err(RequestError::NotPublished {
                    sandbox: sandbox.clone(),
                    spec: spec.clone(),
                    published: shown(&before.ports),
                });
            }
            removed.extend(matching);
        }
        let mut after = before.clone();
        let mut position = 0;
        after.ports.retain(|_| {
            position += 1;
            !removed.contains(&(position - 1))
        });
        Ok(change(before, after))
    }

    /// Mappings for `specs`, in addition to those of `sandbox`.
    pub(super) fn map_ports(
        &self,
        sandbox: &Sandbox,
        specs: &[PortSpec],
        allow: &[IpNet],
        env: &mut Env<'_>,
    ) -> Result<Vec<PortMapping>, RequestError> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        self.check_allow(sandbox, specs, allow)?;
        let (endpoint, network) = self.publisher(sandbox)?;
        let mut mapper = Mapper {
            state: self,
            sandbox,
            endpoint,
            own: PortIndex::default(),
            lists: Ranges::default(),
        };
        if network.gateway_mode == GatewayMode::Routed {
            for mapping in &sandbox.ports {
                mapper.own.insert(mapping, &sandbox.name);
            }
        }
        specs
            .iter()
            .map(|spec| match network.gateway_mode {
                GatewayMode::Nat => mapper.translated(spec, allow, env),
                GatewayMode::Routed => mapper.routed(spec, allow),
            })
            .collect()
    }

    /// Checks the limits of allowed sources. Each mapping has separate entries for them in the map `allow`.
    fn check_allow(
        &self,
        sandbox: &Sandbox,
        specs: &[PortSpec],
        allow: &[IpNet],
    ) -> Result<(), RequestError> {
        if allow.len() > MAX_SOURCES {
            return Err(RequestError::AllowList {
                sandbox: sandbox.name.clone(),
                length: allow.len(),
                limit: MAX_SOURCES,
            });
        }
        if self.allowed_sources + specs.len() * allow.len() > MAX_ALLOW as usize {
            return Err(RequestError::Exhausted {
                what: "allowed source",
                capacity: MAX_ALLOW,
            });
        }
        Ok(())
    }

    /// The endpoint that carries the sandbox's ports, or why there is none.
    fn publisher<'a>(
        &'a self,
        sandbox: &'a Sandbox,
    ) -> Result<(&'a Endpoint, &'a Network), RequestError> {
        let refused = |reason: String| RequestError::Mode {
            holder: (&sandbox.name).into(),
            verb: "publish ports".to_owned(),
            reason,
        };
        if sandbox.mode != NetworkMode::Network {
            return Err(refused(format!("its network mode is {}", sandbox.mode)));
        }
        let Some(endpoint) = sandbox.endpoints.first() else {
            return Err(refused("it is connected to no network".to_owned()));
        };
        let network = self.network(&endpoint.network)?;
        if network.internal {
            return Err(refused(format!("network '{}' is internal", network.name)));
        }
        Ok((endpoint, network))
    }
}

/// The change from one version of a sandbox to the next.
pub(super) fn change(before: &Sandbox, after: Sandbox) -> Change {
    Change::Sandbox {
        before: Some(Box::new(before.clone())),
        after: Some(Box::new(after)),
    }
}

/// The first mappings as text.
fn shown(mappings: &[PortMapping]) -> Vec<String> {
    let more = mappings.len().saturating_sub(SHOWN);
    let first = mappings.iter().take(SHOWN).map(PortMapping::to_string);
    let rest = (more > 0).then(|| format!("{more} more"));
    first.chain(rest).collect()
}

/// Index of a sandbox's mappings by host port and by container port, as positions. It avoids a quadratic search in
/// requests about many ports.
struct Published {
    by_host: BTreeMap<(Protocol, Option<IpAddr>, u16), usize>,
    by_target: BTreeMap<(Protocol, (u16, u16)), Vec<usize>>,
}

impl Published {
    fn of(mappings: &[PortMapping]) -> Self {
        let mut published = Self {
            by_host: BTreeMap::new(),
            by_target: BTreeMap::new(),
        };
        for (position, mapping) in mappings.iter().enumerate() {
            let protocol = mapping.protocol;
            let host = (protocol, mapping.host_ip, mapping.host_port);
            published.by_host.insert(host, position);
            let target = (mapping.container_port, mapping.container_port_end);
            let targets = published.by_target.entry((protocol, target));
            targets.or_default().push(position);
        }
        published
    }

    /// Positions of the mappings that a specification names.
    fn matching(&self, spec: &PortSpec, mappings: &[PortMapping], routed: bool) -> Vec<usize> {
        let candidates: Vec<usize> = match spec.host_ports {
            Some((first, last)) if !routed => {
                let key = |port| (spec.protocol, spec.host_ip, port);
                let range = self.by_host.range(key(first)..=key(last));
                range.map(|(_, position)| *position).collect()
            }
            _ => {
                let target = (spec.protocol, spec.container_ports);
                self.by_target.get(&target).cloned().unwrap_or_default()
            }
        };
        let is_match = |position: &usize| {
            let mapping = mappings.get(*position);
            mapping.is_some_and(|mapping| matches_spec(spec, mapping, routed))
        };
        candidates.into_iter().filter(is_match).collect()
    }
}

fn matches_spec(spec: &PortSpec, mapping: &PortMapping, routed: bool) -> bool {
    let container = (mapping.container_port, mapping.container_port_end);
    let same = spec.protocol == mapping.protocol && spec.container_ports == container;
    let names_no_host_port = spec.host_ip.is_none() && spec.host_ports.is_none();
    let contains_host_ports = spec.host_ip == mapping.host_ip
        && spec.host_ports.is_none_or(|(first, last)| {
            first <= mapping.host_port && mapping.host_port_end <= last
        });
    same && (routed || names_no_host_port || contains_host_ports)
}

/// Computes the mappings of one request.
struct Mapper<'a> {
    state: &'a State,
    sandbox: &'a Sandbox,
    endpoint: &'a Endpoint,
    /// Ranges of this request, and in networks of gateway mode `routed` those of the sandbox.
    own: PortIndex,
    /// Numbers of the allow-lists of this request.
    lists: Ranges,
}

impl Mapper<'_> {
    fn translated(
        &mut self,
        spec: &PortSpec,
        allow: &[IpNet],
        env: &mut Env<'_>,
    ) -> Result<PortMapping, RequestError> {
        self.check(spec)?;
        let length = spec.container_ports.1 - spec.container_ports.0;
        let first = match spec.host_ports {
            Some((first, last)) if last - first == length => {
                self.check_free(spec, (first, last), env)?;
                first
            }
            Some(range) => self.choose(spec, range, env)?,
            None => self.choose(spec, env.free_ports, env)?,
        };
        self.mapping(spec, spec.host_ip, first, allow)
    }

    fn routed(&mut self, spec: &PortSpec, allow: &[IpNet]) -> Result<PortMapping, RequestError> {
        self.check_protocol(spec)?;
        let occupied = self.own.conflict(spec.protocol, None, spec.container_ports);
        if let Some(occupied) = occupied {
            return Err(RequestError::Published {
                ports: (occupied.first, occupied.last),
                protocol: spec.protocol,
                owner: occupied.owner,
            });
        }
        self.mapping(spec, None, spec.container_ports.0, allow)
    }

    fn mapping(
        &mut self,
        spec: &PortSpec,
        host_ip: Option<IpAddr>,
        host_port: u16,
        allow: &[IpNet],
    ) -> Result<PortMapping, RequestError> {
        let (container_port, container_port_end) = spec.container_ports;
        let mapping = PortMapping {
            protocol: spec.protocol,
            host_ip,
            host_port,
            host_port_end: host_port + (container_port_end - container_port),
            container_port,
            container_port_end,
            allow: allow.iter().map(IpNet::trunc).collect(),
            allow_list: if allow.is_empty() {
                0
            } else {
                self.free_list()?
            },
        };
        self.own.insert(&mapping, &self.sandbox.name);
        Ok(mapping)
    }

    fn free_list(&mut self) -> Result<u32, RequestError> {
        let last = u128::from(MAX_ALLOW);
        let exhausted = RequestError::Exhausted {
            what: "allow-list",
            capacity: MAX_ALLOW,
        };
        let lists = &self.state.allow_lists;
        let Some(free) = lists.first_free_excluding(&self.lists, 1, last) else {
            return Err(exhausted);
        };
        self.lists.insert(free, free);
        u32::try_from(free).map_err(|_| exhausted)
    }

    fn check(&self, spec: &PortSpec) -> Result<(), RequestError> {
        self.check_protocol(spec)?;
        let Some(ip) = spec.host_ip else {
            return Ok(());
        };
        let addr = netpath_common::addr::Addr::from(ip);
        let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if mapped {
            Err(self.refused(
                spec,
                format!("host address {ip} is IPv4-mapped; write it as IPv4"),
            ))
        } else if addr.is_multicast_or_broadcast() || addr.is_link_local() {
            Err(self.refused(
                spec,
                format!("host address {ip} is multicast, broadcast or link-local"),
            ))
        } else if self.endpoint.address(ip).is_none() {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let network = &self.endpoint.network;
            Err(self.refused(
                spec,
                format!("it has no {family} address in network '{network}'"),
            ))
        } else {
            Ok(())
        }
    }

    fn check_protocol(&self, spec: &PortSpec) -> Result<(), RequestError> {
        match spec.protocol {
            Protocol::Tcp | Protocol::Udp => Ok(()),
            Protocol::Sctp => Err(self.refused(spec, "sctp is not supported yet".to_owned())),
        }
    }

    fn check_free(
        &self,
        spec: &PortSpec,
        ports: (u16, u16),
        env: &Env<'_>,
    ) -> Result<(), RequestError> {
        let protocol = spec.protocol;
        let published = self.state.ports.conflict(protocol, spec.host_ip, ports);
        if let Some(occupied) =
            published.or_else(|| self.own.conflict(protocol, spec.host_ip, ports))
        {
            return Err(RequestError::Published {
                ports: (occupied.first, occupied.last),
                protocol,
                owner: occupied.owner,
            });
        }
        match self.listener(spec, ports, env) {
            None => Ok(()),
            Some((port, owner)) => Err(RequestError::Listening {
                port,
                protocol,
                owner,
            }),
        }
    }

    /// The first port of the lowest free range in `range` with as many ports as the specification has. The search starts at a
    /// random port if the specification names no host ports.
    fn choose(
        &self,
        spec: &PortSpec,
        range: (u16, u16),
        env: &mut Env<'_>,
    ) -> Result<u16, RequestError> {
        let length = spec.container_ports.1 - spec.container_ports.0;
        let exhausted = || RequestError::PortsExhausted {
            sandbox: self.sandbox.name.clone(),
            spec: spec.clone(),
            range,
        };
        let last = range.1.checked_sub(length).filter(|last| *last >= range.0);
        let last = last.ok_or_else(exhausted)?;
        let start = match spec.host_ports {
            Some(_) => range.0,
            None => range.0 + ((env.random)() % (u64::from(last - range.0) + 1)) as u16,
        };
        self.choose_between(spec, (start, last), env)
            .or_else(|| self.choose_between(spec, (range.0, start), env))
            .ok_or_else(exhausted)
    }

    fn choose_between(
        &self,
        spec: &PortSpec,
        (first, last): (u16, u16),
        env: &Env<'_>,
    ) -> Option<u16> {
        let length = spec.container_ports.1 - spec.container_ports.0;
        let mut start = first;
        while start <= last {
            let ports = (start, start + length);
            let conflict = |index: &PortIndex| {
                let occupied = index.conflict(spec.protocol, spec.host_ip, ports);
                occupied.map(|occupied| occupied.last)
            };
            let obstacle = conflict(&self.state.ports)
                .or_else(|| conflict(&self.own))
                .or_else(|| self.listener(spec, ports, env).map(|(port, _)| port));
            let Some(obstacle) = obstacle else {
                return Some(start);
            };
            start = obstacle.checked_add(1)?;
        }
        None
    }

    /// The first port of the range that is in use on the node.
    fn listener(
        &self,
        spec: &PortSpec,
        (first, last): (u16, u16),
        env: &Env<'_>,
    ) -> Option<(u16, String)> {
        if spec.protocol == Protocol::Udp && (first..=last).contains(&env.tunnel_port) {
            return Some((env.tunnel_port, "the tunnel between nodes".to_owned()));
        }
        let engine = self.sandbox.owner;
        let owner = |port| (env.listening)(engine, spec.protocol, spec.host_ip, port);
        (first..=last).find_map(|port| Some((port, owner(port)?)))
    }

    fn refused(&self, spec: &PortSpec, reason: String) -> RequestError {
        RequestError::Port {
            sandbox: self.sandbox.name.clone(),
            spec: spec.clone(),
            reason,
        }
    }
}
