//! Facts of the node for the planner.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Address, DefaultRoute, DeviceRole, Error, Kernel, Link, Role,
    interfaces::{Choice, role, roles},
};
use crate::plan::{AdoptedDevice, Facts, Interface, Underlay};

/// The facts of the node, and what is degraded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Input of the planner.
    pub facts: Facts,
    /// The role of every device of the node.
    pub devices: Vec<DeviceRole>,
    /// Addresses of the interfaces that carry the node's external traffic: those with a default route, or those that the
    /// setting `uplink` names.
    pub addresses: BTreeSet<IpAddr>,
    /// What is degraded, one text per problem.
    pub degraded: Vec<String>,
}

impl Kernel {
    /// Reads the facts of the node. `config_uplinks` is the setting `uplink`: the interfaces that serve published ports,
    /// or every one if it is empty. `adopted` are the names of devices of other programs that netpath uses.
    ///
    /// # Errors
    /// If the kernel refuses the request.
    pub async fn facts(
        &self,
        config_uplinks: &[String],
        adopted: &BTreeSet<String>,
    ) -> Result<NodeFacts, Error> {
        let links = self.links().await?;
        let addresses = self.addresses().await?;
        let routes = self.default_routes().await?;
        let choice = Choice {
            uplinks: config_uplinks,
            adopted,
        };
        let mut facts = from_parts(choice, &links, &addresses, &routes);
        add_adopted(&mut facts, adopted, &links);
        Ok(facts)
    }

    /// The device with an index as an interface of the node; `None` if it does not exist or is no interface. For a new
    /// device, whose addresses and routes are not known yet.
    ///
    /// # Errors
    /// If the kernel refuses the request.
    pub async fn interface(
        &self,
        index: u32,
        config_uplinks: &[String],
        adopted: &BTreeSet<String>,
    ) -> Result<Option<(DeviceRole, Interface)>, Error> {
        let Some(link) = self.link_by_index(index).await? else {
            return Ok(None);
        };
        let master = match link.master {
            Some(index) => self.link_by_index(index).await?,
            None => None,
        };
        let choice = Choice {
            uplinks: config_uplinks,
            adopted,
        };
        let role = role(&link, |_| master.as_ref(), choice);
        let Some(interface) = interface(&link, &role, &[], &[]) else {
            return Ok(None);
        };
        let device = DeviceRole {
            index,
            name: link.name,
            role,
        };
        Ok(Some((device, interface)))
    }
}

fn add_adopted(facts: &mut NodeFacts, adopted: &BTreeSet<String>, links: &[Link]) {
    for name in adopted {
        let link = links.iter().find(|link| link.name == *name);
        match link.and_then(|link| Some((link, link.mac?))) {
            Some((link, mac)) => {
                let device = AdoptedDevice { mac, mtu: link.mtu };
                facts.facts.adopted.insert(name.clone(), device);
            }
            None => facts
                .degraded
                .push(format!("adopted interface {name} does not exist")),
        }
    }
}

fn from_parts(
    choice: Choice<'_>,
    links: &[Link],
    addresses: &[Address],
    routes: &[DefaultRoute],
) -> NodeFacts {
    let devices = roles(links, choice);
    let routed: BTreeSet<u32> = routes.iter().map(|route| route.index).collect();
    let mut interfaces = BTreeMap::new();
    let mut own_addresses = BTreeSet::new();
    let mut mtu: Option<u32> = None;
    for (link, device) in links.iter().zip(&devices) {
        let of_link = addresses.iter().filter(|found| found.index == link.index);
        let of_link: Vec<&Address> = of_link.collect();
        let Some(interface) = interface(link, &device.role, &of_link, routes) else {
            continue;
        };
        let is_external = match choice.uplinks {
            [] => routed.contains(&link.index),
            _ => device.role.is_uplink(),
        };
        if is_external {
            mtu = Some(mtu.map_or(interface.mtu, |mtu| mtu.min(interface.mtu)));
            own_addresses.extend([interface.v4, interface.v6].into_iter().flatten());
        }
        interfaces.insert(link.name.clone(), interface);
    }
    let host_addresses = addresses
        .iter()
        .filter(|address| !address.duplicate)
        .map(|address| address.net.addr())
        // The loopback device may have other addresses, such as a service address that a routing daemon announces.
        .filter(|ip| !ip.is_loopback())
        .collect();
    NodeFacts {
        degraded: problems(choice, links, &devices, addresses),
        devices,
        addresses: own_addresses,
        facts: Facts {
            interfaces,
            mtu,
            host_addresses,
            adopted: BTreeMap::new(),
            // The node adds it: it depends on the settings and on other nodes.
            underlay: Underlay::default(),
        },
    }
}

/// A device as an interface of the node, with its addresses and the default routes of the node. `None` if its role is
/// another one.
fn interface(
    link: &Link,
    role: &Role,
    addresses: &[&Address],
    routes: &[DefaultRoute],
) -> Option<Interface> {
    Some(Interface {
        mtu: link.mtu,
        header: role.header()?,
        is_uplink: role.is_uplink(),
        v4: primary(link.index, false, addresses, routes),
        v6: primary(link.index, true, addresses, routes),
    })
}

/// What does not work as configured.
fn problems(
    choice: Choice<'_>,
    links: &[Link],
    devices: &[DeviceRole],
    addresses: &[Address],
) -> Vec<String> {
    let mut problems = Vec::new();
    for name in choice.uplinks {
        let found = links.iter().zip(devices);
        match found.into_iter().find(|(link, _)| link.name == *name) {
            None => problems.push(format!("uplink {name} does not exist")),
            Some((link, device)) if device.role.is_uplink() => {
                if !link.up {
                    problems.push(format!("uplink {name} is down"));
                }
            }
            Some((_, device)) => {
                problems.push(format!("{name} cannot be an uplink: {}", device.role));
            }
        }
    }
    for (link, device) in links.iter().zip(devices) {
        let Role::Unsupported(why) = device.role else {
            continue;
        };
        let has_address = addresses.iter().any(|address| address.index == link.index);
        if link.up && has_address && !choice.uplinks.contains(&link.name) {
            problems.push(format!("{}: {why}", link.name));
        }
    }
    if problems.is_empty() && !devices.iter().any(|device| device.role.is_uplink()) {
        problems.push("no interface serves published ports".to_owned());
    }
    problems
}

/// The preferred source of the best default route, else the first permanent address, global before unique local.
fn primary(
    index: u32,
    v6: bool,
    addresses: &[&Address],
    routes: &[DefaultRoute],
) -> Option<IpAddr> {
    let usable = || {
        let addresses = addresses.iter().copied();
        addresses.filter(move |address| address.net.addr().is_ipv6() == v6 && address.usable())
    };
    let asked_for = routes
        .iter()
        .filter(|route| route.index == index && route.v6 == v6)
        .min_by_key(|route| route.metric)
        .and_then(|route| route.source);
    if let Some(source) = asked_for
        && usable().any(|address| address.net.addr() == source)
    {
        return Some(source);
    }
    let unique_local = |address: &Address| match address.net.addr() {
        IpAddr::V6(v6) => v6.is_unique_local(),
        IpAddr::V4(_) => false,
    };
    usable()
        .min_by_key(|address| (address.secondary, unique_local(address)))
        .map(|address| address.net.addr())
}

#[cfg(test)]
mod tests {
    use super::{super::LinkLayer, *};

    fn address(index: u32, net: &str) -> Address {
        Address {
            index,
            net: net.parse().expect("prefix"),
            global: true,
            tentative: false,
            duplicate: false,
            deprecated: false,
            secondary: false,
        }
    }

    fn route(index: u32, v6: bool, source: Option<&str>) -> DefaultRoute {
        DefaultRoute {
            index,
            v6,
            gateway: None,
            metric: 0,
            table: 254,
            source: source.map(|ip| ip.parse().expect("address")),
        }
    }

    fn facts_of(
        uplinks: &[&str],
        links: &[Link],
        addresses: &[Address],
        routes: &[DefaultRoute],
    ) -> NodeFacts {
        let uplinks: Vec<_> = uplinks.iter().map(|name| (*name).to_owned()).collect();
        let choice = Choice {
            uplinks: &uplinks,
            adopted: &BTreeSet::new(),
        };
        from_parts(choice, links, addresses, routes)
    }

    #[test]
    fn class1_every_interface_is_an_uplink_and_default_routes_decide_about_the_mtu() {
        let mut small = Link::example(4, "tun0");
        (small.layer, small.mtu) = (LinkLayer::None, 1280);
        let links = [
            Link::example(1, "lo"),
            Link::example(2, "eth0"),
            Link::example(3, "npb-1"),
            small,
        ];
        let routes = [route(2, false, None), route(3, false, None)];
        let addresses = [address(2, "192.0.2.1/24"), address(4, "10.9.0.1/24")];
        let found = facts_of(&[], &links, &addresses, &routes);
        let names: Vec<_> = found.facts.interfaces.keys().collect();
        assert_eq!(names, ["eth0", "tun0"]);
        assert_eq!(found.facts.mtu, Some(1500));
        assert_eq!(found.addresses, BTreeSet::from([addresses[0].net.addr()]));
        assert_eq!(found.degraded, [""; 0]);
    }

    #[test]
    fn unusable_uplinks_are_degraded() {
        let mut other = Link::example(2, "ib0");
        other.layer = LinkLayer::Other;
        let mut port = Link::example(3, "eth1");
        port.master = Some(2);
        let found = facts_of(
            &["eth9", "ib0", "eth1"],
            &[other, port],
            &[],
            &[route(2, false, None)],
        );
        assert!(found.facts.interfaces.is_empty());
        let [missing, unsupported, port] = found.degraded.as_slice() else {
            panic!("{:?}", found.degraded);
        };
        assert_eq!(missing, "uplink eth9 does not exist");
        assert!(unsupported.starts_with("ib0 cannot be an uplink: its link layer"));
        assert!(port.starts_with("eth1 cannot be an uplink: a port of ib0"));
    }

    #[test]
    fn source_is_that_of_the_route_then_permanent_global_addresses() {
        let links = [Link::example(1, "lo"), Link::example(2, "eth0")];
        let mut temporary = address(2, "2001:db8::aaaa/64");
        temporary.secondary = true;
        let mut old = address(2, "2001:db8::1/64");
        old.deprecated = true;
        let addresses = [
            address(1, "127.0.0.1/8"),
            address(2, "192.0.2.1/24"),
            address(2, "192.0.2.9/24"),
            old,
            temporary,
            address(2, "fd00::1/64"),
            address(2, "2001:db8::2/64"),
        ];
        let routes = [route(2, false, Some("192.0.2.9")), route(2, true, None)];
        let facts = facts_of(&[], &links, &addresses, &routes).facts;
        let uplink = &facts.interfaces["eth0"];
        assert_eq!(uplink.v4, Some("192.0.2.9".parse().expect("address")));
        assert_eq!(uplink.v6, Some("2001:db8::2".parse().expect("address")));
        assert_eq!(facts.host_addresses.len(), 6);
    }
}
