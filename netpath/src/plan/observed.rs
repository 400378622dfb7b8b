//! The observed state of the kernel and of the maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use serde::{Deserialize, Serialize};

use super::{Bridge, Desired, Inside, Veth, tables::Entries};
use crate::model::Rate;

pub use netpath_common::hook::{Hook, LinkHeader};

/// A program on a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// Interface name.
    pub interface: String,
    /// Hook at which the program is attached.
    pub hook: Hook,
    /// What precedes the network header on the device. Each kind has a program of its own.
    #[serde(default, skip_serializing_if = "is_ethernet")]
    pub header: LinkHeader,
}

fn is_ethernet(header: &LinkHeader) -> bool {
    *header == LinkHeader::Ethernet
}

impl Attachment {
    /// A program at a hook of an Ethernet device.
    pub fn new(interface: impl Into<String>, hook: Hook) -> Self {
        Self {
            interface: interface.into(),
            hook,
            header: LinkHeader::Ethernet,
        }
    }

    /// Name of the program.
    pub fn program(&self) -> &'static str {
        self.hook.program_for(self.header)
    }
}

/// A bridge of netpath, identified by the prefix of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedBridge {
    /// MAC address.
    #[serde(with = "crate::model::mac_text")]
    pub mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether the stack forwards packets that arrive on it, in the families of its addresses.
    #[serde(default = "yes")]
    pub forwarding: bool,
    /// Global addresses.
    pub addresses: BTreeSet<IpNet>,
}

fn yes() -> bool {
    true
}

/// The host interface of a veth pair of netpath, identified by the prefix of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedVeth {
    /// Interface name of its bridge.
    pub bridge: Option<String>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Rate of its queueing discipline, if that is netpath's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Whether the container link was configured after the creation of the pair.
    #[serde(default = "yes")]
    pub configured: bool,
    /// The container link; `None` if it was not observed.
    pub inside: Option<ObservedInside>,
}

/// The container link, as observed in the sandbox's namespace. Properties that belong to the workload alone are not
/// observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedInside {
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is up and belongs to no bridge or bond.
    #[serde(default = "yes")]
    pub in_use: bool,
    /// Whether it can have IPv6 addresses.
    #[serde(default = "yes")]
    pub ipv6: bool,
    /// Addresses of all devices of the namespace.
    pub addresses: BTreeSet<IpAddr>,
    /// Gateways of netpath's default routes over this interface.
    pub gateways: BTreeSet<IpAddr>,
    /// The IPv4 default route that the namespace uses.
    pub used_v4: UsedRoute,
    /// The IPv6 default route that the namespace uses.
    pub used_v6: UsedRoute,
}

/// The default route with the lowest metric in the main table of a sandbox, over any device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsedRoute {
    /// There is none.
    #[default]
    None,
    /// netpath has added it.
    Own,
    /// Another program has added it.
    Other,
}

/// The observed state of the objects in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// By interface name.
    pub bridges: BTreeMap<String, ObservedBridge>,
    /// Mounted below the run directory.
    pub namespaces: BTreeSet<PathBuf>,
    /// Files below the run directory on which no namespace is mounted.
    pub left_over: BTreeSet<PathBuf>,
    /// By interface name.
    pub veths: BTreeMap<String, ObservedVeth>,
    /// Attachments whose program is the loaded one, and undesired attachments that have a pin.
    pub attached: BTreeSet<Attachment>,
    /// Entries of the maps.
    pub entries: Entries,
}

impl Observed {
    /// The observed state if it equals the desired one. Tests plan against it without observing.
    pub fn complete(desired: &Desired) -> Self {
        let bridges = desired.bridges.iter();
        let namespaces = desired.namespaces.iter();
        let veths = desired.veths.iter().map(|(name, veth)| {
            let mut observed = ObservedVeth::complete(veth);
            if let Some(inside) = &mut observed.inside {
                let siblings = desired.veths.values();
                for sibling in siblings.filter(|sibling| sibling.netns == veth.netns) {
                    inside.use_gateways(&sibling.inside.gateways);
                }
            }
            (name.clone(), observed)
        });
        Self {
            bridges: bridges
                .map(|(name, bridge)| (name.clone(), ObservedBridge::complete(bridge)))
                .collect(),
            namespaces: namespaces.map(|namespace| namespace.path.clone()).collect(),
            left_over: BTreeSet::new(),
            veths: veths.collect(),
            attached: desired.attachments(),
            entries: desired.entries.clone(),
        }
    }
}

impl ObservedBridge {
    /// A bridge in the desired state.
    pub fn complete(bridge: &Bridge) -> Self {
        Self {
            mac: bridge.mac,
            mtu: bridge.mtu,
            up: true,
            forwarding: true,
            addresses: bridge.addresses.clone(),
        }
    }
}

impl ObservedVeth {
    /// A veth pair in the desired state.
    pub fn complete(veth: &Veth) -> Self {
        Self {
            bridge: Some(veth.bridge.clone()),
            mtu: veth.mtu,
            up: true,
            rate: veth.rate,
            configured: true,
            inside: Some(ObservedInside::complete(veth)),
        }
    }
}

impl ObservedInside {
    /// A container link that was configured and not changed since, the only one in its namespace.
    pub fn complete(veth: &Veth) -> Self {
        let Inside {
            addresses,
            gateways,
            ..
        } = &veth.inside;
        let mut complete = Self {
            mtu: veth.mtu,
            in_use: true,
            ipv6: true,
            addresses: addresses.iter().map(IpNet::addr).collect(),
            gateways: gateways.clone(),
            used_v4: UsedRoute::None,
            used_v6: UsedRoute::None,
        };
        complete.use_gateways(gateways);
        complete
    }

    /// netpath's default routes to these gateways are those that the namespace uses.
    fn use_gateways(&mut self, gateways: &BTreeSet<IpAddr>) {
        for gateway in gateways {
            match gateway {
                IpAddr::V4(_) => self.used_v4 = UsedRoute::Own,
                IpAddr::V6(_) => self.used_v6 = UsedRoute::Own,
            }
        }
    }

    /// The default route that the namespace uses in the family of an address.
    pub fn used(&self, ip: IpAddr) -> UsedRoute {
        match ip {
            IpAddr::V4(_) => self.used_v4,
            IpAddr::V6(_) => self.used_v6,
        }
    }
}
