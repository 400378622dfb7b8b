//! Routes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
        RouteScope, RouteType,
    },
};

use super::{Error, Kernel, socket::Socket};

/// The table with the routes to the namespace's own addresses (`RT_TABLE_LOCAL`).
const TABLE_LOCAL: u32 = 255;

/// A default route over one device. A multipath route counts once per next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Index of the output device.
    pub index: u32,
    /// Whether it is an IPv6 route.
    pub v6: bool,
    /// Next hop; `None` if every destination is on-link.
    pub gateway: Option<IpAddr>,
    /// Metric; the route with the lowest metric is used.
    pub metric: u32,
    /// The routing table.
    pub table: u32,
    /// Its preferred source address.
    pub source: Option<IpAddr>,
}

impl Kernel {
    /// The default routes of all tables and both families; its cost grows with the number of routes.
    pub async fn default_routes(&self) -> Result<Vec<DefaultRoute>, Error> {
        self.socket.default_routes(None).await
    }

    /// The prefixes of the namespace's addresses and routes, without default routes, loopback and link-local prefixes.
    pub async fn prefixes(&self) -> Result<Prefixes, Error> {
        let addresses = self.addresses().await?;
        let connected = addresses.iter().filter(|address| address.global);
        let mut prefixes = Prefixes {
            connected: connected.map(|address| address.net.trunc()).collect(),
            routed: Vec::new(),
        };
        for v6 in [false, true] {
            for route in self.socket.routes(v6, None).await? {
                let Some(destination) = destination(&route.attributes, v6) else {
                    continue;
                };
                let length = route.header.destination_prefix_length;
                if length == 0 || is_link_local(destination) || table(&route) == TABLE_LOCAL {
                    continue;
                }
                let Ok(prefix) = IpNet::new(destination, length) else {
                    continue;
                };
                // The kernel adds a route for the prefix of each address.
                let list = if route.header.protocol == RouteProtocol::Kernel {
                    &mut prefixes.connected
                } else {
                    &mut prefixes.routed
                };
                list.push(prefix.trunc());
            }
        }
        for list in [&mut prefixes.connected, &mut prefixes.routed] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(prefixes)
    }
}

/// The prefixes of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// Directly connected: those of addresses of the node.
    pub connected: Vec<IpNet>,
    /// Destinations of routes. They may be wide, and reach hosts behind a router.
    pub routed: Vec<IpNet>,
}

impl Socket {
    /// Default routes, those over one device if `index` is given.
    pub(super) async fn default_routes(
        &self,
        index: Option<u32>,
    ) -> Result<Vec<DefaultRoute>, Error> {
        let mut found = Vec::new();
        for v6 in [false, true] {
            let routes = self.routes(v6, index).await?;
            found.extend(
                routes
                    .iter()
                    .filter(|route| route.header.destination_prefix_length == 0)
                    .flat_map(|route| hops(route, v6)),
            );
        }
        if let Some(index) = index {
            found.retain(|route| route.index == index);
        }
        Ok(found)
    }

    /// Sets exactly these default routes over a device in the main table. A default route of the same metric over
    /// another device is replaced.
    pub(super) async fn set_gateways(
        &self,
        object: &str,
        index: u32,
        addresses: &BTreeSet<IpNet>,
        wanted: &BTreeSet<IpAddr>,
    ) -> Result<(), Error> {
        let found: BTreeSet<Option<IpAddr>> =
            main_gateways(self.default_routes(Some(index)).await?);
        for gateway in &found {
            if gateway.is_none_or(|gateway| !wanted.contains(&gateway)) {
                self.remove_default_routes(object, index, *gateway).await?;
            }
        }
        for gateway in wanted {
            if !found.contains(&Some(*gateway)) {
                let on_link = !addresses.iter().any(|net| net.contains(gateway));
                self.change(
                    &format!("default via {gateway} on {object}"),
                    Message::NewRoute(default_route(index, *gateway, on_link)),
                    NLM_F_CREATE | NLM_F_REPLACE,
                )
                .await?;
            }
        }
        Ok(())
    }

    async fn remove_default_routes(
        &self,
        object: &str,
        index: u32,
        gateway: Option<IpAddr>,
    ) -> Result<(), Error> {
        for route in self.default_routes(Some(index)).await? {
            if route.gateway != gateway || route.table != u32::from(RouteHeader::RT_TABLE_MAIN) {
                continue;
            }
            let mut message = RouteMessage::default();
            message.header.address_family = family(route.v6);
            message.header.table = RouteHeader::RT_TABLE_MAIN;
            message.header.scope = RouteScope::NoWhere;
            message.attributes.push(RouteAttribute::Oif(index));
            message
                .attributes
                .push(RouteAttribute::Priority(route.metric));
            if let Some(gateway) = gateway {
                message
                    .attributes
                    .push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
            }
            match self
                .change(
                    &format!("default route of {object}"),
                    Message::DelRoute(message),
                    0,
                )
                .await
            {
                Err(error) if error.errno() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
        Ok(())
    }

    async fn routes(&self, v6: bool, index: Option<u32>) -> Result<Vec<RouteMessage>, Error> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(v6);
        if let Some(index) = index {
            message.attributes.push(RouteAttribute::Oif(index));
        }
        let object = if v6 { "IPv6 routes" } else { "IPv4 routes" };
        let replies = match self.dump(object, Message::GetRoute(message)).await {
            // IPv6 is disabled, or the device has just been removed.
            Err(error) if matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::ENODEV)) => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        Ok(replies
            .into_iter()
            .filter_map(|reply| match reply {
                Message::NewRoute(route) => Some(route),
                _ => None,
            })
            .filter(|route| !route.header.flags.contains(RouteFlags::Cloned))
            .collect())
    }
}

/// The gateways of those routes that are in the main table.
pub(super) fn main_gateways(routes: Vec<DefaultRoute>) -> BTreeSet<Option<IpAddr>> {
    routes
        .into_iter()
        .filter(|route| route.table == u32::from(RouteHeader::RT_TABLE_MAIN))
        .map(|route| route.gateway)
        .collect()
}

fn default_route(index: u32, gateway: IpAddr, on_link: bool) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway.is_ipv6());
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.header.flags.set(RouteFlags::Onlink, on_link);
    message.attributes.push(RouteAttribute::Oif(index));
    message
        .attributes
        .push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
    message
}

fn hops(route: &RouteMessage, v6: bool) -> Vec<DefaultRoute> {
    if route.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let mut whole = DefaultRoute {
        index: 0,
        v6,
        gateway: gateway(&route.attributes),
        metric: 0,
        table: table(route),
        source: None,
    };
    let mut several = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => whole.index = *index,
            RouteAttribute::Priority(metric) => whole.metric = *metric,
            RouteAttribute::PrefSource(source) => whole.source = ip(source),
            RouteAttribute::MultiPath(hops) => several.extend(hops),
            _ => {}
        }
    }
    if several.is_empty() {
        return match whole.index {
            0 => Vec::new(),
            _ => vec![whole],
        };
    }
    several
        .into_iter()
        .map(|hop| DefaultRoute {
            index: hop.interface_index,
            gateway: gateway(&hop.attributes),
            ..whole.clone()
        })
        .collect()
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        _ => None,
    })
}

fn destination(attributes: &[RouteAttribute], v6: bool) -> Option<IpAddr> {
    let found = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => Some(ip(address)),
        _ => None,
    });
    // The kernel omits the attribute for prefixes like 0.0.0.0/1.
    found.unwrap_or(Some(if v6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }))
}

fn table(route: &RouteMessage) -> u32 {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or(u32::from(route.header.table))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast(),
    }
}

fn family(v6: bool) -> AddressFamily {
    if v6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    }
}
