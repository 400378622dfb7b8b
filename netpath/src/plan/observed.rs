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
    /// The container link; `None` if it was not observed.
    pub inside: Option<ObservedInside>,
}

/// The container link, as observed in the sandbox's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedInside {
    /// Interface name.
    pub name: String,
    /// MAC address.
    #[serde(with = "crate::model::mac_text")]
    pub mac: MacAddr,
    /// Whether it is up.
    pub up: bool,
    /// Global addresses.
    pub addresses: BTreeSet<IpNet>,
    /// Gateways of default routes over this interface.
    pub gateways: BTreeSet<IpAddr>,
}

/// The observed state of the objects in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// By interface name.
    pub bridges: BTreeMap<String, ObservedBridge>,
    /// Mounted below the run directory.
    pub namespaces: BTreeSet<PathBuf>,
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
        let veths = desired.veths.iter();
        Self {
            bridges: bridges
                .map(|(name, bridge)| (name.clone(), ObservedBridge::complete(bridge)))
                .collect(),
            namespaces: namespaces.map(|namespace| namespace.path.clone()).collect(),
            veths: veths
                .map(|(name, veth)| (name.clone(), ObservedVeth::complete(veth)))
                .collect(),
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
            inside: Some(ObservedInside::complete(&veth.inside)),
        }
    }
}

impl ObservedInside {
    /// A container link in the desired state.
    pub fn complete(inside: &Inside) -> Self {
        Self {
            name: inside.name.clone(),
            mac: inside.mac,
            up: true,
            addresses: inside.addresses.clone(),
            gateways: inside.gateways.clone(),
        }
    }
}
