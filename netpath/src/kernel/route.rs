//! Routes.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::{
    RouteNetlinkMessage as Message,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
        RouteScope, RouteType,
    },
};

use super::{
    Error, Kernel,
    route_dump::{self, Wanted, family},
    socket::Socket,
};
use crate::plan::UsedRoute;

/// Protocol number of netpath's routes (`rtm_protocol`). It distinguishes them from the routes of a workload.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(78);

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
    /// The default routes of all tables and both families, without blackhole and unreachable routes.
    pub async fn default_routes(&self) -> Result<Vec<DefaultRoute>, Error> {
        blocking(|| {
            let mut routes = Vec::new();
            for v6 in [false, true] {
                let wanted = Wanted {
                    v6,
                    table: None,
                    defaults: true,
                };
                let found: Vec<_> = route_dump::dump(wanted, |found: &mut Vec<_>, route| {
                    found.extend(hops(route, v6));
                })?;
                routes.extend(found);
            }
            Ok(routes)
        })
        .await
    }

    /// The prefixes of the namespace's addresses and routes, without default routes, loopback and link-local prefixes. Its
    /// cost grows with the number of routes.
    pub async fn prefixes(&self) -> Result<Prefixes, Error> {
        let addresses = self.addresses().await?;
        let connected = addresses.iter().filter(|address| address.global);
        let mut prefixes = Prefixes {
            connected: connected.map(|address| address.net.trunc()).collect(),
            routed: Vec::new(),
        };
        let routes = blocking(|| {
            let mut routes = Prefixes::default();
            for v6 in [false, true] {
                let wanted = Wanted {
                    v6,
                    table: None,
                    defaults: false,
                };
                let found: Prefixes = route_dump::dump(wanted, |found: &mut Prefixes, route| {
                    found.add_route(route, v6);
                })?;
                routes.extend(found);
            }
            Ok(routes)
        })
        .await?;
        prefixes.extend(routes);
        for list in [&mut prefixes.connected, &mut prefixes.routed] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(prefixes)
    }
}

/// Runs `work` on a thread for blocking calls, which is in the namespace of the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| Error::syscall("clone", "routes", io::Error::other(error)))?
}

/// A default route in the main table of a sandbox, of any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MainRoute {
    v6: bool,
    /// Index of the output device; 0 if it has none or several.
    index: u32,
    gateway: Option<IpAddr>,
    metric: u32,
    own: bool,
}

/// The default routes in the main table of the namespace of the calling thread. Blocks.
pub(super) fn main_routes() -> Result<Vec<MainRoute>, Error> {
    let mut routes = Vec::new();
    for v6 in [false, true] {
        let wanted = Wanted {
            v6,
            table: Some(RouteHeader::RT_TABLE_MAIN),
            defaults: true,
        };
        let found: Vec<_> = route_dump::dump(wanted, |found: &mut Vec<_>, route| {
            found.push(main_route(route, v6));
        })?;
        routes.extend(found);
    }
    Ok(routes)
}

/// Gateways of netpath's default routes over a device.
pub(super) fn own_gateways(routes: &[MainRoute], index: u32) -> BTreeSet<IpAddr> {
    let own = routes
        .iter()
        .filter(|route| route.own && route.index == index);
    own.filter_map(|route| route.gateway).collect()
}

/// Whose default route a namespace uses.
pub(super) fn used_route(routes: &[MainRoute], v6: bool) -> UsedRoute {
    let routes = routes.iter().filter(|route| route.v6 == v6);
    match routes.min_by_key(|route| route.metric) {
        None => UsedRoute::None,
        Some(route) if route.own => UsedRoute::Own,
        Some(_) => UsedRoute::Other,
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

impl Prefixes {
    /// Adds the prefix of a route, unless it is a default route, a link-local one or one of the namespace's own addresses.
    fn add_route(&mut self, route: &RouteMessage, v6: bool) {
        let Some(destination) = destination(&route.attributes, v6) else {
            return;
        };
        let length = route.header.destination_prefix_length;
        if length == 0 || is_link_local(destination) || table(route) == TABLE_LOCAL {
            return;
        }
        let Ok(prefix) = IpNet::new(destination, length) else {
            return;
        };
        // The kernel adds a route for the prefix of each address.
        let list = if route.header.protocol == RouteProtocol::Kernel {
            &mut self.connected
        } else {
            &mut self.routed
        };
        list.push(prefix.trunc());
    }

    fn extend(&mut self, other: Self) {
        self.connected.extend(other.connected);
        self.routed.extend(other.routed);
    }
}

impl Socket {
    /// Adds a default route over a device of a sandbox, unless another program has set the default route that the sandbox
    /// uses. netpath's default route over another device is removed. `routes` are those of [`main_routes`].
    pub(super) async fn add_gateway(
        &self,
        object: &str,
        index: u32,
        on_link: bool,
        gateway: IpAddr,
        routes: &[MainRoute],
    ) -> Result<(), Error> {
        let v6 = gateway.is_ipv6();
        if used_route(routes, v6) == UsedRoute::Other {
            return Ok(());
        }
        let added = self
            .change(
                &format!("default via {gateway} on {object}"),
                Message::NewRoute(default_route(index, gateway, on_link)),
                NLM_F_CREATE,
            )
            .await;
        match added {
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            other => other?,
        }
        for route in routes {
            if route.own && route.v6 == v6 && route.index != index {
                self.remove_route(object, route).await?;
            }
        }
        Ok(())
    }

    async fn remove_route(&self, object: &str, route: &MainRoute) -> Result<(), Error> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(route.v6);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = PROTOCOL;
        message.header.scope = RouteScope::NoWhere;
        message.attributes.push(RouteAttribute::Oif(route.index));
        message
            .attributes
            .push(RouteAttribute::Priority(route.metric));
        if let Some(gateway) = route.gateway {
            message
                .attributes
                .push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
        }
        let object = format!("default route of {object}");
        match self.change(&object, Message::DelRoute(message), 0).await {
            Err(error) if error.errno() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }
}

fn main_route(route: &RouteMessage, v6: bool) -> MainRoute {
    let mut found = MainRoute {
        v6,
        index: 0,
        gateway: gateway(&route.attributes),
        metric: 0,
        own: route.header.protocol == PROTOCOL,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.index = *index,
            RouteAttribute::Priority(metric) => found.metric = *metric,
            _ => {}
        }
    }
    found
}

fn default_route(index: u32, gateway: IpAddr, on_link: bool) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway.is_ipv6());
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = PROTOCOL;
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
