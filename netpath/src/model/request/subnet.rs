//! The subnets of a new network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Env, NetworkRequest, RequestError};
use crate::{
    ipam::{address, bounds, choose_subnet, number, overlap, ula_subnet},
    model::{Name, State, Subnet},
};

/// Prefixes that no subnet may overlap, each with the reason.
const FORBIDDEN: [(&str, &str); 11] = [
    ("0.0.0.0/8", "it is 'this network' (RFC 1122)"),
    ("127.0.0.0/8", "it is the loopback prefix"),
    ("169.254.0.0/16", "it is the link-local prefix"),
    ("224.0.0.0/4", "it is multicast"),
    ("240.0.0.0/4", "it is reserved (RFC 1112)"),
    ("::/128", "it contains the unspecified address"),
    ("::1/128", "it is the loopback address"),
    ("::ffff:0:0/96", "it is the IPv4-mapped prefix"),
    ("100::/64", "it is the discard prefix (RFC 6666)"),
    ("fe80::/10", "it is the link-local prefix"),
    ("ff00::/8", "it is multicast"),
];

impl State {
    /// The requested subnets, or free ones.
    pub(super) fn choose_subnets(
        &self,
        request: &NetworkRequest,
        env: &mut Env<'_>,
    ) -> Result<Vec<Subnet>, RequestError> {
        for (position, prefix) in request.subnets.iter().enumerate() {
            self.check_subnet(request, prefix, env)?;
            let mut others = request.subnets.iter().take(position);
            if others.any(|other| other.addr().is_ipv4() == prefix.addr().is_ipv4()) {
                let reason = "another subnet of this family is given";
                return Err(refused(request, format!("subnet {prefix}"), reason));
            }
        }
        let v4 = self.prefix_like(request, IpAddr::V4(Ipv4Addr::UNSPECIFIED), env);
        let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let requested_v6 = request.subnets.iter().any(|prefix| prefix.addr().is_ipv6());
        let v6 = (request.ipv6 || requested_v6).then(|| self.prefix_like(request, v6, env));
        let prefixes = [Some(v4), v6].into_iter().flatten();
        let prefixes: Vec<IpNet> =
            prefixes
                .collect::<Option<_>>()
                .ok_or_else(|| RequestError::PoolsExhausted {
                    name: request.name.clone(),
                })?;
        check_belonging(request, &prefixes)?;
        prefixes
            .into_iter()
            .map(|prefix| subnet(request, prefix))
            .collect()
    }

    fn prefix_like(
        &self,
        request: &NetworkRequest,
        like: IpAddr,
        env: &mut Env<'_>,
    ) -> Option<IpNet> {
        let mut requested = request.subnets.iter();
        let requested = requested.find(|prefix| prefix.addr().is_ipv4() == like.is_ipv4());
        if let Some(prefix) = requested {
            return Some(*prefix);
        }
        // If every subnet overlaps a route, one of them is used: its sandboxes do not reach the destinations of the route.
        let overlays = self.cluster().networks();
        let overlays = overlays.flat_map(|entry| &entry.network.subnets);
        let overlays = overlays.map(|subnet| subnet.prefix);
        let connected: Vec<IpNet> = env.connected.iter().copied().chain(overlays).collect();
        let avoided = [&connected, env.routed].concat();
        let find = |avoid: &[IpNet]| choose_subnet(env.pools, like, &self.prefixes, avoid);
        let pooled = find(&avoided).or_else(|| find(&connected));
        if pooled.is_some() || like.is_ipv4() {
            return pooled;
        }
        let mut find = |avoid: &[IpNet]| {
            (0..16).find_map(|_| {
                let subnet = ula_subnet((env.random)());
                let clash = self.prefixes.overlapping(&subnet).is_some()
                    || avoid.iter().any(|other| overlap(other, &subnet));
                (!clash).then_some(subnet)
            })
        };
        find(&avoided).or_else(|| find(&connected))
    }

    /// Refuses a prefix that is invalid, or that overlaps a network or a directly connected prefix of the node.
    fn check_subnet(
        &self,
        request: &NetworkRequest,
        prefix: &IpNet,
        env: &Env<'_>,
    ) -> Result<(), RequestError> {
        self.check_prefix(request, prefix)?;
        match env.connected.iter().find(|other| overlap(other, prefix)) {
            None => Ok(()),
            Some(other) => Err(RequestError::Overlap {
                name: request.name.clone(),
                subnet: *prefix,
                other: *other,
                owner: "in which this host has an address".to_owned(),
            }),
        }
    }

    /// Refuses a prefix that is invalid, or that overlaps a network.
    pub(super) fn check_prefix(
        &self,
        request: &NetworkRequest,
        prefix: &IpNet,
    ) -> Result<(), RequestError> {
        let what = || format!("subnet {prefix}");
        if *prefix != prefix.trunc() {
            let reason = format!("it has host bits; the prefix is {}", prefix.trunc());
            return Err(refused(request, what(), reason));
        }
        if prefix.prefix_len() > prefix.max_prefix_len() - 2 {
            let reason = "it has no room for a gateway and a sandbox";
            return Err(refused(request, what(), reason));
        }
        let forbidden = FORBIDDEN.iter().find(|(text, _)| {
            let other = text.parse::<IpNet>();
            other.is_ok_and(|other| overlap(&other, prefix))
        });
        if let Some((_, reason)) = forbidden {
            return Err(refused(request, what(), *reason));
        }
        let own = self.prefixes.overlapping(prefix);
        let other = own.or_else(|| self.cluster().overlapping(prefix));
        refuse_overlap(request, prefix, other)
    }
}

/// Refuses a prefix that overlaps the prefix of another network.
pub(super) fn refuse_overlap(
    request: &NetworkRequest,
    prefix: &IpNet,
    other: Option<(IpNet, &Name)>,
) -> Result<(), RequestError> {
    match other {
        None => Ok(()),
        Some((other, owner)) => Err(RequestError::Overlap {
            name: request.name.clone(),
            subnet: *prefix,
            other,
            owner: format!("of network '{owner}'"),
        }),
    }
}

/// Warnings about subnets that overlap routes of the node: the sandboxes of the network do not reach those destinations, and
/// neither does the node.
pub fn route_warnings(subnets: &[Subnet], routed: &[IpNet]) -> Vec<String> {
    let warnings = subnets.iter().filter_map(|subnet| {
        let route = routed.iter().find(|route| overlap(route, &subnet.prefix))?;
        Some(format!(
            "subnet {} overlaps the route to {route} of this host; addresses in both belong to the network",
            subnet.prefix
        ))
    });
    warnings.collect()
}

/// Refuses gateways and ranges that are not in a subnet, and a second gateway or range of one family.
pub(super) fn check_belonging(
    request: &NetworkRequest,
    prefixes: &[IpNet],
) -> Result<(), RequestError> {
    let inside = |ip: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(ip));
    for (position, gateway) in request.gateways.iter().enumerate() {
        let mut others = request.gateways.iter().take(position);
        if !inside(gateway) {
            let reason = "it is outside of the network's subnets";
            return Err(refused(request, format!("gateway {gateway}"), reason));
        }
        if others.any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            let reason = "another gateway of this family is given";
            return Err(refused(request, format!("gateway {gateway}"), reason));
        }
    }
    for (position, range) in request.ip_ranges.iter().enumerate() {
        let mut others = request.ip_ranges.iter().take(position);
        if !prefixes.iter().any(|prefix| prefix.contains(range)) {
            let reason = "it is outside of the network's subnets";
            return Err(refused(request, format!("IP range {range}"), reason));
        }
        if others.any(|other| other.addr().is_ipv4() == range.addr().is_ipv4()) {
            let reason = "another range of this family is given";
            return Err(refused(request, format!("IP range {range}"), reason));
        }
    }
    Ok(())
}

/// The subnet with its gateway and its range.
pub(super) fn subnet(request: &NetworkRequest, prefix: IpNet) -> Result<Subnet, RequestError> {
    let mut gateways = request.gateways.iter();
    let requested = gateways.find(|gateway| prefix.contains(*gateway));
    let (first, last) = bounds(&prefix);
    let gateway = match requested {
        None => address(first + 1, prefix.addr()),
        Some(gateway) => {
            let broadcast = gateway.is_ipv4() && number(*gateway) == last;
            if number(*gateway) == first || broadcast {
                let reason = "it is the network or broadcast address of its subnet";
                return Err(refused(request, format!("gateway {gateway}"), reason));
            }
            *gateway
        }
    };
    let mut ranges = request.ip_ranges.iter();
    let range = ranges
        .find(|range| prefix.contains(*range))
        .map(IpNet::trunc);
    Ok(Subnet {
        prefix,
        gateway,
        range,
    })
}

fn refused(request: &NetworkRequest, what: String, reason: impl Into<String>) -> RequestError {
    RequestError::Subnet {
        name: request.name.clone(),
        what,
        reason: reason.into(),
    }
}
