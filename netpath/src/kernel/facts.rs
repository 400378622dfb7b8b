//! Facts of the node for the planner.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Address, DefaultRoute, Error, Kernel, Link, is_own_device};
use crate::plan::{AdoptedDevice, Facts, Uplink};

/// The facts of the node, and what is degraded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Input of the planner.
    pub facts: Facts,
    /// What is degraded, one text per problem.
    pub degraded: Vec<String>,
}

impl Kernel {
    /// Reads the facts of the node. Uplinks are the devices with these names, or, if there are none, every one with a default
    /// route. Only Ethernet devices can be uplinks.
    /// `adopted` are the names of devices of other programs that netpath uses.
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
        let mut facts = from_parts(config_uplinks, &links, &addresses, &routes);
        add_adopted(&mut facts, adopted, &links);
        Ok(facts)
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
    config_uplinks: &[String],
    links: &[Link],
    addresses: &[Address],
    routes: &[DefaultRoute],
) -> NodeFacts {
    let mut degraded = Vec::new();
    let mut uplinks = BTreeMap::new();
    for link in candidates(config_uplinks, links, routes, &mut degraded) {
        if !link.ethernet {
            degraded.push(format!(
                "{} is not an Ethernet device: packets that leave through it are neither translated nor filtered",
                link.name
            ));
            continue;
        }
        if !link.up {
            degraded.push(format!("uplink {} is down", link.name));
        }
        let uplink = Uplink {
            mtu: link.mtu,
            v4: primary(link.index, false, addresses, routes),
            v6: primary(link.index, true, addresses, routes),
        };
        uplinks.insert(link.name.clone(), uplink);
    }
    if uplinks.is_empty() && degraded.is_empty() {
        degraded.push("no uplink: no device has a default route".to_owned());
    }
    let host_addresses = addresses
        .iter()
        .filter(|address| !address.duplicate)
        .map(|address| address.net.addr())
        // The loopback device may have other addresses, such as a service address that a routing daemon announces.
        .filter(|ip| !ip.is_loopback())
        .collect();
    NodeFacts {
        facts: Facts {
            uplinks,
            host_addresses,
            adopted: BTreeMap::new(),
        },
        degraded,
    }
}

fn candidates<'a>(
    config_uplinks: &[String],
    links: &'a [Link],
    routes: &[DefaultRoute],
    degraded: &mut Vec<String>,
) -> Vec<&'a Link> {
    if config_uplinks.is_empty() {
        return links
            .iter()
            .filter(|link| routes.iter().any(|route| route.index == link.index))
            .filter(|link| !link.loopback && !is_own_device(&link.name))
            .collect();
    }
    config_uplinks
        .iter()
        .filter_map(|name| {
            let link = links.iter().find(|link| link.name == *name);
            if link.is_none() {
                degraded.push(format!("uplink {name} does not exist"));
            }
            link
        })
        .collect()
}

/// The preferred source of the best default route, else the first permanent address, global before unique local.
fn primary(index: u32, v6: bool, addresses: &[Address], routes: &[DefaultRoute]) -> Option<IpAddr> {
    let usable = || {
        addresses.iter().filter(move |address| {
            address.index == index && address.net.addr().is_ipv6() == v6 && address.usable()
        })
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
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: None,
            mac: None,
            mtu: 1500,
            up: true,
            master: None,
            peer: None,
            peer_netnsid: None,
            ethernet: true,
            loopback: name == "lo",
        }
    }

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

    #[test]
    fn devices_with_default_route_are_uplinks_except_netpaths() {
        let links = [
            link(1, "lo"),
            link(2, "eth0"),
            link(3, "npb-1"),
            link(4, "eth1"),
        ];
        let routes = [route(2, false, None), route(3, false, None)];
        let found = from_parts(&[], &links, &[], &routes);
        assert_eq!(found.facts.uplinks.keys().collect::<Vec<_>>(), ["eth0"]);
        assert_eq!(found.degraded, [""; 0]);
    }

    #[test]
    fn tunnel_or_missing_uplink_is_degraded() {
        let mut tunnel = link(2, "wg0");
        tunnel.ethernet = false;
        let found = from_parts(
            &["wg0".to_owned(), "eth9".to_owned()],
            &[tunnel],
            &[],
            &[route(2, false, None)],
        );
        assert!(found.facts.uplinks.is_empty());
        assert!(found.degraded[0].contains("eth9") && found.degraded[1].contains("wg0"));
    }

    #[test]
    fn source_is_that_of_the_route_then_permanent_global_addresses() {
        let links = [link(1, "lo"), link(2, "eth0")];
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
        let facts = from_parts(&[], &links, &addresses, &routes).facts;
        let uplink = &facts.uplinks["eth0"];
        assert_eq!(uplink.v4, Some("192.0.2.9".parse().expect("address")));
        assert_eq!(uplink.v6, Some("2001:db8::2".parse().expect("address")));
        assert_eq!(facts.host_addresses.len(), 6);
    }
}
