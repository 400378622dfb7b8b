//! A network over a bridge of another program.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    AdoptedBridge, NetworkRequest, RequestError,
    subnet::{check_belonging, subnet},
};
use crate::model::{State, Subnet};

/// Prefixes of names of netpath's own devices.
const OWN_PREFIXES: [&str; 2] = ["npb-", "npv-"];

impl State {
    /// The subnets of a network over `bridge`: those of the request, or those of the bridge's addresses. Gateways are
    /// the addresses of the bridge unless the request names others.
    pub(super) fn adopt_bridge(
        &self,
        request: &NetworkRequest,
        bridge: &AdoptedBridge,
    ) -> Result<Vec<Subnet>, RequestError> {
        let name = &bridge.name;
        let refused = |reason: String| {
            Err(RequestError::AdoptBridge {
                name: name.clone(),
                reason,
            })
        };
        if OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return refused("it is a device of netpath".to_owned());
        }
        let mut networks = self.networks();
        if let Some(other) = networks.find(|other| other.adopted.as_ref() == Some(name)) {
            return refused(format!("network '{}' already uses this bridge", other.name));
        }
        let request = completed(request, bridge);
        if request.subnets.is_empty() {
            return refused("it has no address, and no subnet is given".to_owned());
        }
        for (position, prefix) in request.subnets.iter().enumerate() {
            let mut others = request.subnets.iter().take(position);
            if others.any(|other| is_v4(other) == is_v4(prefix)) {
                return refused(
                    "it has several subnets of one family; name one per family".to_owned(),
                );
            }
            self.check_prefix(&request, prefix)?;
        }
        check_belonging(&request, &request.subnets)?;
        check_forwarding(&request, bridge)?;
        let prefixes = request.subnets.iter();
        prefixes
            .map(|prefix| {
                if request.gateways.iter().any(|ip| prefix.contains(ip)) {
                    return subnet(&request, *prefix);
                }
                Err(RequestError::AdoptBridge {
                    name: name.clone(),
                    reason: format!(
                        "it has no address in subnet {prefix}, and no gateway is given"
                    ),
                })
            })
            .collect()
    }
}

/// The request with the subnets and gateways that are derived from the addresses of the bridge.
fn completed(request: &NetworkRequest, bridge: &AdoptedBridge) -> NetworkRequest {
    let mut request = request.clone();
    if request.subnets.is_empty() {
        let mut prefixes: Vec<IpNet> = bridge.addresses.iter().map(IpNet::trunc).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        request.subnets = prefixes;
    }
    for prefix in &request.subnets {
        let requested = request.gateways.iter().any(|ip| prefix.contains(ip));
        let addresses = bridge.addresses.iter().map(IpNet::addr);
        if !requested && let Some(ip) = addresses.into_iter().find(|ip| prefix.contains(ip)) {
            request.gateways.push(ip);
        }
    }
    request
}

/// Refuses a bridge without forwarding: the programs look up routes for its packets, which the kernel then refuses.
fn check_forwarding(request: &NetworkRequest, bridge: &AdoptedBridge) -> Result<(), RequestError> {
    if request.internal {
        return Ok(());
    }
    let off = request.subnets.iter().find_map(|prefix| {
        let (family, on) = if is_v4(prefix) {
            ("ipv4", bridge.forwarding_v4)
        } else {
            ("ipv6", bridge.forwarding_v6)
        };
        (!on).then_some(family)
    });
    match off {
        None => Ok(()),
        Some(family) => Err(RequestError::Forwarding {
            bridge: bridge.name.clone(),
            family,
        }),
    }
}

fn is_v4(prefix: &IpNet) -> bool {
    matches!(prefix.addr(), IpAddr::V4(_))
}
