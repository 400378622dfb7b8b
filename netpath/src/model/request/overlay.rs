//! Requests about overlay networks.

use ipnet::IpNet;

use super::{
    Env, NetworkRequest, RequestError,
    network::{check_options, network_of},
    subnet::refuse_overlap,
};
use crate::{
    ipam::overlap,
    model::{Change, GatewayMode, Name, Network, Overlay, OverlayRanges, State, Subnet, Vni},
};

impl State {
    /// The overlay network of a request. `ranges` are the properties of all overlay networks of the cluster.
    ///
    /// # Errors
    /// The name, the VNI or the subnet is in use, or the request is invalid.
    pub fn new_overlay(
        &self,
        request: &NetworkRequest,
        ranges: &OverlayRanges,
        env: &mut Env<'_>,
    ) -> Result<Network, RequestError> {
        let taken = self.networks.contains_key(&request.name)
            || ranges.networks.contains_key(&request.name);
        if taken {
            return Err(RequestError::Exists {
                kind: "network",
                name: request.name.clone(),
            });
        }
        check_overlay_options(request)?;
        let vni = choose_vni(request, ranges)?;
        for prefix in &request.subnets {
            refuse_overlap(request, prefix, ranges.overlapping(prefix))?;
        }
        let others = ranges.networks.values().flat_map(|range| &range.subnets);
        let connected: Vec<IpNet> = env.connected.iter().chain(others).copied().collect();
        let mut env = Env {
            random: &mut *env.random,
            connected: &connected,
            ..*env
        };
        let subnets = self.choose_subnets(request, &mut env)?;
        check_options(request, &subnets)?;
        let id = self.allocate_id(&mut env, |id| {
            let mut ranges = ranges.networks.values();
            !ranges.any(|range| range.id.device() == id.device())
        });
        Ok(Network {
            overlay: Some(Overlay {
                vni,
                encap: request.encap.unwrap_or_default(),
            }),
            ..network_of(request, id, subnets)
        })
    }

    /// Starts the use of an overlay network on this node; `None` if the node uses it already, or if no overlay network has
    /// this name.
    ///
    /// # Errors
    /// A subnet of the network overlaps another prefix of this node.
    pub fn use_overlay(&self, name: &Name, env: &Env<'_>) -> Result<Option<Change>, RequestError> {
        if self.networks.contains_key(name) {
            return Ok(None);
        }
        let Some(entry) = self.cluster.network(name) else {
            return Ok(None);
        };
        for Subnet { prefix, .. } in &entry.network.subnets {
            let local = self.prefixes.overlapping(prefix);
            let local = local.map(|(other, owner)| (other, format!("of network '{owner}'")));
            let connected = env.connected.iter().find(|other| overlap(other, prefix));
            let connected =
                connected.map(|other| (*other, "in which this host has an address".to_owned()));
            if let Some((other, owner)) = local.or(connected) {
                return Err(RequestError::Overlap {
                    name: name.clone(),
                    subnet: *prefix,
                    other,
                    owner,
                });
            }
        }
        let network = Network {
            index: self.allocate_network_index()?,
            ..entry.network.clone()
        };
        Ok(Some(Change::Network {
            before: None,
            after: Some(Box::new(network)),
        }))
    }

    /// Ends the use of an overlay network on this node; `None` if the node does not use it.
    pub fn leave_overlay(&self, name: &Name) -> Option<Change> {
        let entry = self.networks.get(name)?;
        let unused = entry.network.overlay.is_some() && !entry.is_used();
        unused.then(|| Change::Network {
            before: Some(Box::new(entry.network.clone())),
            after: None,
        })
    }
}

fn check_overlay_options(request: &NetworkRequest) -> Result<(), RequestError> {
    let refused = |option: &str, reason| {
        Err(RequestError::NetworkOption {
            name: request.name.clone(),
            option: option.to_owned(),
            reason,
        })
    };
    if request.adopt.is_some() {
        return refused(
            "--adopt",
            "an overlay network has a bridge of its own on every node",
        );
    }
    if request.gateway_mode == GatewayMode::Routed {
        return refused(
            "--gateway-mode routed",
            "hosts outside have no route to the sandboxes of an overlay network",
        );
    }
    Ok(())
}

fn choose_vni(request: &NetworkRequest, ranges: &OverlayRanges) -> Result<Vni, RequestError> {
    let Some(number) = request.vni else {
        return ranges.free_vni().ok_or(RequestError::Exhausted {
            what: "VXLAN network identifier",
            capacity: Vni::MAX,
        });
    };
    let vni = Vni::try_from(number).map_err(|_| RequestError::NetworkOption {
        name: request.name.clone(),
        option: format!("--vni {number}"),
        reason: "a VXLAN network identifier is between 1 and 16777215",
    })?;
    match ranges.with_vni(vni) {
        None => Ok(vni),
        Some(owner) => Err(RequestError::VniTaken {
            name: request.name.clone(),
            vni,
            owner: owner.clone(),
        }),
    }
}
