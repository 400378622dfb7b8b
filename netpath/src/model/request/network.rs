//! Requests that create and remove networks.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{Env, RequestError};
use crate::model::{Change, Driver, Encap, GatewayMode, Id, Name, Network, Owner, State, Subnet};

/// Networks that the daemon creates at the first start.
const BUILT_IN: [(&str, Driver); 3] = [
    ("bridge", Driver::Bridge),
    ("host", Driver::Host),
    ("none", Driver::None),
];

/// Which built-in networks are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// All of them.
    All,
    /// Those without a subnet.
    WithoutSubnets,
}

/// A network to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRequest {
    /// Name.
    pub name: Name,
    /// Driver.
    pub driver: Driver,
    /// At most one per family; a free IPv4 subnet is allocated if none is given, and an IPv6 subnet if `ipv6` is set.
    pub subnets: Vec<IpNet>,
    /// At most one per family, in the subnets; the first address of a subnet without one.
    pub gateways: Vec<IpAddr>,
    /// Parts of the subnets that addresses are allocated from; at most one per family.
    pub ip_ranges: Vec<IpNet>,
    /// Whether an IPv6 subnet is allocated if none is given.
    pub ipv6: bool,
    /// Whether the network has no external access and no published ports.
    pub internal: bool,
    /// Whether sandboxes may exchange packets with each other.
    pub icc: bool,
    /// Whether the source of outbound flows is translated to an address of the node.
    pub masquerade: bool,
    /// How its sandboxes are reached from outside.
    pub gateway_mode: GatewayMode,
    /// MTU in bytes; if `None`, that of the adopted bridge or of the interfaces with a default route.
    pub mtu: Option<u32>,
    /// VXLAN network identifier; only overlay networks have one.
    pub vni: Option<u32>,
    /// Encapsulation between nodes; only overlay networks have one.
    pub encap: Option<Encap>,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// Owner of the network.
    pub owner: Owner,
    /// A bridge of another program to use instead of a new one.
    pub adopt: Option<AdoptedBridge>,
}

/// A bridge that another program has created, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedBridge {
    /// Interface name.
    pub name: String,
    /// Global addresses with prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Whether the kernel forwards IPv4 packets that arrive on it.
    pub forwarding_v4: bool,
    /// Whether the kernel forwards IPv6 packets that arrive on it.
    pub forwarding_v6: bool,
}

impl NetworkRequest {
    /// A bridge network with default options.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            driver: Driver::Bridge,
            subnets: Vec::new(),
            gateways: Vec::new(),
            ip_ranges: Vec::new(),
            ipv6: false,
            internal: false,
            icc: true,
            masquerade: true,
            gateway_mode: GatewayMode::Nat,
            mtu: None,
            vni: None,
            encap: None,
            labels: BTreeMap::new(),
            owner: Owner::default(),
            adopt: None,
        }
    }
}

impl State {
    /// Creates a network of one node. [`Self::new_overlay`] is the other function.
    ///
    /// # Errors
    /// The name or the subnet is in use, or the request is invalid.
    pub fn create_network(
        &self,
        request: &NetworkRequest,
        env: &mut Env<'_>,
    ) -> Result<Change, RequestError> {
        let taken = self.networks.contains_key(&request.name)
            || self.cluster.network(&request.name).is_some();
        if taken {
            return Err(RequestError::Exists {
                kind: "network",
                name: request.name.clone(),
            });
        }
        check_driver(request)?;
        let subnets = match &request.adopt {
            None => self.choose_subnets(request, env)?,
            Some(bridge) => self.adopt_bridge(request, bridge)?,
        };
        check_options(request, &subnets)?;
        let id = self.allocate_id(env, |_| true);
        Ok(created(Network {
            adopted: request.adopt.as_ref().map(|bridge| bridge.name.clone()),
            index: self.allocate_network_index()?,
            ..network_of(request, id, subnets)
        }))
    }

    /// Removes a network.
    ///
    /// # Errors
    /// It does not exist, it is built in, or it has endpoints; the error names their sandboxes.
    pub fn remove_network(&self, name: &Name) -> Result<Change, RequestError> {
        let network = self.network(name)?;
        if BUILT_IN
            .iter()
            .any(|(built_in, _)| name.as_str() == *built_in)
        {
            return Err(RequestError::BuiltIn { name: name.clone() });
        }
        let users: Vec<_> = self.members(name).cloned().collect();
        if !users.is_empty() {
            return Err(RequestError::InUse {
                kind: "network",
                name: name.clone(),
                users,
            });
        }
        let entry = self.network_entry(name)?;
        if let Some(endpoint) = entry.unbound.first().copied() {
            return Err(RequestError::HasEndpoint {
                name: name.clone(),
                endpoint,
            });
        }
        Ok(Change::Network {
            before: Some(Box::new(network.clone())),
            after: None,
        })
    }

    /// Creates the first built-in network of `wanted` that does not exist; `None` if all exist. The caller applies the change
    /// and calls this function again until it returns `None`.
    ///
    /// # Errors
    /// No subnet is free for `bridge`.
    pub fn missing_built_in(
        &self,
        wanted: BuiltIn,
        env: &mut Env<'_>,
    ) -> Result<Option<Change>, RequestError> {
        let missing = BUILT_IN.iter().find_map(|(name, driver)| {
            let name: Name = name.parse().ok()?;
            let is_wanted = wanted == BuiltIn::All || *driver != Driver::Bridge;
            (is_wanted && !self.networks.contains_key(&name)).then_some((name, *driver))
        });
        let Some((name, driver)) = missing else {
            return Ok(None);
        };
        if driver == Driver::Bridge {
            let request = NetworkRequest {
                ipv6: true,
                ..NetworkRequest::new(name)
            };
            return self.create_network(&request, env).map(Some);
        }
        Ok(Some(created(Network {
            id: self.allocate_id(env, |_| true),
            name,
            driver,
            subnets: Vec::new(),
            mtu: None,
            internal: driver == Driver::None,
            icc: true,
            masquerade: false,
            gateway_mode: GatewayMode::Nat,
            overlay: None,
            labels: BTreeMap::new(),
            owner: Owner::Netpath,
            adopted: None,
            index: 0,
        })))
    }
}

fn created(network: Network) -> Change {
    Change::Network {
        before: None,
        after: Some(Box::new(network)),
    }
}

/// A network with the properties of a request, without index and overlay.
pub(super) fn network_of(request: &NetworkRequest, id: Id, subnets: Vec<Subnet>) -> Network {
    Network {
        id,
        name: request.name.clone(),
        driver: request.driver,
        subnets,
        mtu: request.mtu,
        internal: request.internal,
        icc: request.icc,
        masquerade: request.masquerade,
        gateway_mode: request.gateway_mode,
        overlay: None,
        labels: request.labels.clone(),
        owner: request.owner,
        adopted: None,
        index: 0,
    }
}

/// Checks the options of networks of every driver.
pub(super) fn check_options(
    request: &NetworkRequest,
    subnets: &[Subnet],
) -> Result<(), RequestError> {
    check_labels(request)?;
    check_mtu(
        request,
        subnets.iter().any(|subnet| subnet.gateway.is_ipv6()),
    )
}

fn check_driver(request: &NetworkRequest) -> Result<(), RequestError> {
    let reason = match request.driver {
        Driver::Overlay => "an overlay network is an object of the cluster",
        Driver::Host | Driver::None => "the network of this driver exists already",
        Driver::Bridge => return check_no_overlay_options(request),
    };
    Err(RequestError::Driver {
        name: request.name.clone(),
        driver: request.driver,
        reason,
    })
}

/// Refuses options that only overlay networks have.
fn check_no_overlay_options(request: &NetworkRequest) -> Result<(), RequestError> {
    let vni = request.vni.map(|_| "--vni");
    let option = vni.or(request.encap.map(|Encap::Vxlan| "--encap"));
    match option {
        None => Ok(()),
        Some(option) => Err(RequestError::NetworkOption {
            name: request.name.clone(),
            option: option.to_owned(),
            reason: "only overlay networks have one",
        }),
    }
}

/// Limits of labels: number, bytes of a key, bytes of a value.
const MAX_LABELS: (usize, usize, usize) = (128, 256, 4096);

fn check_labels(request: &NetworkRequest) -> Result<(), RequestError> {
    let (number, key_size, value_size) = MAX_LABELS;
    let refused = |option: String, reason| {
        Err(RequestError::NetworkOption {
            name: request.name.clone(),
            option,
            reason,
        })
    };
    if request.labels.len() > number {
        let option = format!("{} labels", request.labels.len());
        return refused(option, "a network has at most 128 labels");
    }
    for (key, value) in &request.labels {
        let start: String = key.chars().take(32).collect();
        if key.is_empty() || key.len() > key_size {
            let reason = "the name of a label has 1 to 256 bytes";
            return refused(format!("label '{start}'"), reason);
        }
        if value.len() > value_size {
            let reason = "the value of a label has at most 4096 bytes";
            return refused(format!("label '{start}'"), reason);
        }
    }
    Ok(())
}

/// Refuses an MTU below 68 bytes (RFC 791), below 1280 bytes with IPv6 (RFC 8200 §5), or above 65535 bytes.
fn check_mtu(request: &NetworkRequest, v6: bool) -> Result<(), RequestError> {
    let reason = match request.mtu {
        Some(..68) => "IPv4 needs at least 68",
        Some(..1280) if v6 => "IPv6 needs at least 1280",
        Some(65536..) => "a packet has at most 65535 bytes",
        Some(_) | None => return Ok(()),
    };
    Err(RequestError::NetworkOption {
        name: request.name.clone(),
        option: format!("--mtu {}", request.mtu.unwrap_or_default()),
        reason,
    })
}
