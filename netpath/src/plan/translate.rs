//! From the model to the desired state of the kernel and of the maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use netpath_common::maps::{
    FORWARDING, ICC_OFF, INTERNAL, MASQUERADE, MULTIHOMED, OVERLAY, ROUTED,
};

use super::{
    Attachment, Bridge, Desired, Facts, Hook, Inside, Interface, Namespace, Veth,
    own_ports::{OwnPortEntry, OwnPortKey, own_ports},
    tables::{
        AddressEntry, AllowEntry, AllowKey, EndpointEntry, Entries, NetworkEntry, PortEntry,
        PortKey, SubnetEntry,
    },
};
use crate::model::{
    Change, Endpoint, GatewayMode, Name, NetnsSource, Network, Owner, PortMapping, Sandbox, State,
};

/// Least MTU in bytes (RFC 791).
const LEAST_MTU: u32 = 68;

/// MTU in bytes if no interface has a default route.
const DEFAULT_MTU: u32 = 1500;

impl Desired {
    /// Everything: the node itself, every network and every sandbox.
    pub fn of_state(state: &State, facts: &Facts) -> Self {
        Self::of_state_without(state, &[], facts)
    }

    /// As [`Self::of_state`], without some sandboxes.
    pub fn of_state_without(state: &State, excluded: &[Name], facts: &Facts) -> Self {
        let mut desired = Self::of_node(facts);
        desired.add_denied(state.deny_list());
        desired.add_cluster(state, facts);
        for network in state.networks() {
            desired.add_network(network, facts);
        }
        let sandboxes = state.sandboxes();
        for sandbox in sandboxes.filter(|sandbox| !excluded.contains(&sandbox.name)) {
            desired.add_sandbox(sandbox, state, facts);
        }
        desired
    }

    /// The node itself: interfaces and host addresses.
    pub fn of_node(facts: &Facts) -> Self {
        let addresses = facts.host_addresses.iter();
        Self {
            entries: Entries {
                interfaces: facts.interfaces.clone(),
                addresses: addresses.map(|ip| (*ip, AddressEntry::Host)).collect(),
                ..Entries::default()
            },
            ..Self::default()
        }
    }

    /// One network without its sandboxes.
    fn of_network(network: &Network, state: &State, facts: &Facts) -> Self {
        let mut desired = Self::default();
        desired.add_network(network, facts);
        desired.add_remotes(network, state, facts);
        desired
    }

    /// One sandbox; `state` has its networks.
    fn of_sandbox(sandbox: &Sandbox, state: &State, facts: &Facts) -> Self {
        let mut desired = Self::default();
        desired.add_sandbox(sandbox, state, facts);
        desired
    }

    /// The objects of a change before and after it. Only the networks of a sandbox and the addresses of other nodes are looked up
    /// in `state`. A change
    /// of a sandbox does not affect them, so `state` may be from before or after it.
    pub fn of_change(change: &Change, state: &State, facts: &Facts) -> (Self, Self) {
        let both = |before: Option<Self>, after: Option<Self>| {
            (before.unwrap_or_default(), after.unwrap_or_default())
        };
        match change {
            Change::Network { before, after } => {
                let of = |network: &Network| Self::of_network(network, state, facts);
                let mut sides = both(before.as_deref().map(of), after.as_deref().map(of));
                for network in before.as_deref().into_iter().chain(after.as_deref()) {
                    sides.0.keep_host_addresses(network, facts);
                    sides.1.keep_host_addresses(network, facts);
                }
                if before.is_none() {
                    let adopted = after.as_deref().and_then(|after| after.adopted.as_ref());
                    sides.0.add_interface(adopted, facts);
                }
                sides
            }
            Change::Sandbox { .. } | Change::Membership { .. } => {
                let of = |sandbox: &Sandbox| Self::of_sandbox(sandbox, state, facts);
                let (before, after) = change.sandboxes();
                both(before.map(of), after.map(of))
            }
            // An endpoint without a sandbox only reserves addresses.
            Change::Endpoint { .. } => both(None, None),
            Change::Denials { before, after } => Self::of_denials(state.deny_list(), before, after),
        }
    }

    /// Before its adoption, a device is an interface of the node.
    fn add_interface(&mut self, name: Option<&String>, facts: &Facts) {
        let interface = name.and_then(|name| facts.interfaces.get_key_value(name));
        let interface = interface.map(|(name, interface)| (name.clone(), interface.clone()));
        self.entries.interfaces.extend(interface);
    }

    /// Without the network, the addresses of its adopted bridge are host addresses.
    fn keep_host_addresses(&mut self, network: &Network, facts: &Facts) {
        let gateways = network.subnets.iter().map(|subnet| subnet.gateway);
        let gateways = gateways.filter(|ip| facts.host_addresses.contains(ip));
        for ip in gateways.filter(|_| network.adopted.is_some()) {
            self.entries
                .addresses
                .entry(ip)
                .or_insert(AddressEntry::Host);
        }
    }

    /// One interface of the node.
    pub fn of_interface(name: String, interface: Interface) -> Self {
        let mut desired = Self::default();
        desired.entries.interfaces.insert(name, interface);
        desired
    }

    /// Attachments of the programs of the desired interfaces and endpoints.
    pub fn attachments(&self) -> BTreeSet<Attachment> {
        let interfaces = self.entries.interfaces.iter();
        let interfaces = interfaces.flat_map(|(name, interface)| {
            [Hook::UplinkIngress, Hook::UplinkEgress].map(|hook| Attachment {
                interface: name.clone(),
                hook,
                header: interface.header,
            })
        });
        let veths = self.veths.keys().chain(&self.adopted);
        let veths =
            veths.flat_map(|name| Hook::OF_ENDPOINT.map(|hook| Attachment::new(name, hook)));
        interfaces.chain(veths).collect()
    }

    fn add_network(&mut self, network: &Network, facts: &Facts) {
        if !network.has_endpoints() || bridge_mac(network, facts).is_none() {
            return;
        }
        let flags = flags(network);
        let gateway = |subnet: &crate::model::Subnet| {
            IpNet::new_assert(subnet.gateway, subnet.prefix.prefix_len())
        };
        let bridge = Bridge {
            mac: network.mac(),
            mtu: mtu(network, facts),
            addresses: network.subnets.iter().map(gateway).collect(),
        };
        if network.adopted.is_none() {
            self.bridges.insert(network.bridge(), bridge);
        }
        let entry = NetworkEntry {
            flags,
            bridge: network.bridge(),
            vni: network.overlay.map_or(0, |overlay| overlay.vni.number()),
            name: network.name.clone(),
        };
        self.entries.networks.insert(network.index, entry);
        for subnet in &network.subnets {
            let entry = SubnetEntry {
                network: network.index,
                flags,
            };
            self.entries.subnets.insert(subnet.prefix, entry);
            self.entries
                .addresses
                .insert(subnet.gateway, AddressEntry::Gateway);
        }
    }

    fn add_sandbox(&mut self, sandbox: &Sandbox, state: &State, facts: &Facts) {
        if sandbox.source == NetnsSource::Created {
            self.namespaces.insert(Namespace {
                path: sandbox.netns.clone(),
                forwarding: sandbox.forwarding,
            });
        }
        let joined: Vec<(&Endpoint, &Network)> = sandbox
            .endpoints
            .iter()
            .filter_map(|endpoint| Some((endpoint, state.network(&endpoint.network).ok()?)))
            .collect();
        let routes = default_routes(&joined);
        for (endpoint, network) in &joined {
            let gateways = routes.get(&endpoint.slot).cloned().unwrap_or_default();
            self.add_endpoint(sandbox, endpoint, network, gateways, facts);
        }
        let carrier = state.port_carrier(sandbox);
        let carrier =
            carrier.filter(|(endpoint, _)| self.entries.endpoints.contains_key(&endpoint.slot));
        if let Some((endpoint, network)) = carrier {
            for mapping in &sandbox.ports {
                self.add_port(mapping, sandbox.owner, endpoint, network);
            }
            if network.gateway_mode == GatewayMode::Nat {
                self.add_own_ports(&sandbox.ports, &joined);
            }
        }
    }

    /// Adds the own ports of every endpoint whose outbound flows are translated.
    fn add_own_ports(&mut self, mappings: &[PortMapping], joined: &[(&Endpoint, &Network)]) {
        let own_ports = own_ports(mappings);
        for (endpoint, network) in joined {
            if flags(network) & MASQUERADE == 0
                || !self.entries.endpoints.contains_key(&endpoint.slot)
            {
                continue;
            }
            for (ports, host_port) in &own_ports {
                let key = OwnPortKey {
                    endpoint: endpoint.slot,
                    ports: *ports,
                };
                let entry = OwnPortEntry {
                    host_port: *host_port,
                    generation: endpoint.generation,
                };
                self.entries.own_ports.insert(key, entry);
            }
        }
    }

    fn add_endpoint(
        &mut self,
        sandbox: &Sandbox,
        endpoint: &Endpoint,
        network: &Network,
        gateways: BTreeSet<IpAddr>,
        facts: &Facts,
    ) {
        // An adopted device that is missing has neither programs nor entries.
        let Some(gateway_mac) = bridge_mac(network, facts) else {
            return;
        };
        let adopted = endpoint.adopted.as_ref();
        if adopted.is_some_and(|name| !facts.adopted.contains_key(name)) {
            return;
        }
        let mtu = mtu(network, facts);
        let veth = Veth {
            bridge: network.bridge(),
            mtu,
            netns: sandbox.netns.clone(),
            namespace: sandbox.source.adopted(),
            rate: endpoint.rate,
            inside: Inside {
                name: endpoint.interface.clone(),
                mac: endpoint.mac,
                addresses: endpoint.addresses.iter().copied().collect(),
                gateways,
            },
        };
        match adopted {
            Some(name) => drop(self.adopted.insert(name.clone())),
            None => drop(self.veths.insert(endpoint.host_interface(), veth)),
        }
        let addresses: Vec<IpAddr> = endpoint.addresses.iter().map(IpNet::addr).collect();
        for ip in &addresses {
            let entry = AddressEntry::Endpoint(endpoint.slot);
            self.entries.addresses.insert(*ip, entry);
        }
        let entry = EndpointEntry {
            host_interface: endpoint.host_interface(),
            generation: endpoint.generation,
            network: network.index,
            flags: endpoint_flags(sandbox, network),
            bridge: network.bridge(),
            mtu,
            mac: endpoint.mac,
            gateway_mac,
            addresses,
            next: next_slot(sandbox, endpoint),
            rate: endpoint.rate,
            gateways: network
                .subnets
                .iter()
                .map(|subnet| subnet.gateway)
                .collect(),
            sandbox: sandbox.name.clone(),
        };
        self.entries.endpoints.insert(endpoint.slot, entry);
    }

    fn add_port(
        &mut self,
        mapping: &PortMapping,
        owner: Owner,
        endpoint: &Endpoint,
        network: &Network,
    ) {
        let key = |host_ip| PortKey {
            protocol: mapping.protocol,
            host_ip,
            first: mapping.host_port,
            last: mapping.host_port_end,
        };
        let entry = PortEntry {
            target: mapping.container_port,
            endpoint: endpoint.slot,
            generation: endpoint.generation,
            allow: mapping.allow_list,
            held_by_engine: owner.holds_ports(),
        };
        match (network.gateway_mode, mapping.host_ip) {
            (GatewayMode::Nat, Some(ip)) if endpoint.address(ip).is_none() => return,
            (GatewayMode::Nat, host_ip) => {
                self.entries.ports.insert(key(host_ip), entry);
            }
            (GatewayMode::Routed, _) => {
                let addresses = endpoint.addresses.iter().map(IpNet::addr);
                self.entries.ports.extend(addresses.map(|ip| {
                    let key = PortKey {
                        first: mapping.container_port,
                        last: mapping.container_port_end,
                        ..key(Some(ip))
                    };
                    (key, entry)
                }));
            }
        }
        let list = mapping.allow_list;
        let prefixes = mapping.allow.iter().copied();
        self.entries
            .allow
            .extend(prefixes.map(|prefix| (AllowKey { list, prefix }, AllowEntry)));
    }
}

/// Gateways of default routes by slot: for each family, those of the first network with external access.
fn default_routes(joined: &[(&Endpoint, &Network)]) -> BTreeMap<u32, BTreeSet<IpAddr>> {
    let mut routes: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
    let families = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    for family in families {
        let first = joined
            .iter()
            .filter(|(_, network)| !network.internal)
            .find_map(|(endpoint, network)| Some((endpoint.slot, network.subnet(family)?.gateway)));
        if let Some((slot, gateway)) = first {
            routes.entry(slot).or_default().insert(gateway);
        }
    }
    routes
}

fn flags(network: &Network) -> u32 {
    let routed = network.gateway_mode == GatewayMode::Routed;
    let translated = network.masquerade && !routed && !network.internal;
    [
        (network.internal, INTERNAL),
        (!network.icc, ICC_OFF),
        (translated, MASQUERADE),
        (routed, ROUTED),
        (network.overlay.is_some(), OVERLAY),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(0, |flags, (_, flag)| flags | flag)
}

fn endpoint_flags(sandbox: &Sandbox, network: &Network) -> u32 {
    [
        (sandbox.endpoints.len() > 1, MULTIHOMED),
        (sandbox.forwarding, FORWARDING),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(flags(network), |flags, (_, flag)| flags | flag)
}

/// Slot of the next endpoint of a sandbox that forwards packets. The last one leads to the first. 0 if there is no other.
fn next_slot(sandbox: &Sandbox, endpoint: &Endpoint) -> u32 {
    let slots = || sandbox.endpoints.iter().map(|other| other.slot);
    let mut following = slots().skip_while(|slot| *slot != endpoint.slot).skip(1);
    let next = following.next().or_else(|| slots().next());
    next.filter(|slot| sandbox.forwarding && *slot != endpoint.slot)
        .unwrap_or_default()
}

/// MAC address of the bridge of a network; `None` if it is an adopted bridge that does not exist.
fn bridge_mac(network: &Network, facts: &Facts) -> Option<MacAddr> {
    match &network.adopted {
        None => Some(network.mac()),
        Some(name) => facts.adopted.get(name).map(|bridge| bridge.mac),
    }
}

/// MTU of a network's bridge and endpoints in bytes: the configured one, that of the adopted bridge, or the smallest of
/// the interfaces with a default route ([`Facts::mtu`]). That of an overlay network leaves room for the tunnel.
pub(crate) fn mtu(network: &Network, facts: &Facts) -> u32 {
    let adopted = network.adopted.as_ref();
    if let Some(bridge) = adopted.and_then(|name| facts.adopted.get(name)) {
        return network.mtu.unwrap_or(bridge.mtu);
    }
    if network.overlay.is_some() {
        let outer = facts.underlay.mtu.or(facts.mtu).unwrap_or(DEFAULT_MTU);
        let inner = outer.saturating_sub(facts.underlay.overhead());
        return network.mtu.unwrap_or(inner.max(LEAST_MTU));
    }
    network.mtu.or(facts.mtu).unwrap_or(DEFAULT_MTU)
}

#[cfg(test)]
mod tests;
