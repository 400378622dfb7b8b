//! From the desired and the observed state to a list of operations. No IO.
//!
//! ```text
//! model ──► Desired ─┐
//!                    ├─► plan() ──► [Operation]
//! kernel ─► Observed ┘
//! ```
//!
//! Both sides may be complete (periodic reconcile) or hold the objects of one change: [`plan`] compares what it is given
//! and never removes objects that are not in `Observed`. A change of verified objects can be planned without observing:
//! `plan(&after, &Observed::complete(&before))`, with both sides from [`Desired::of_change`].

mod desired;
mod diff;
mod display;
mod observed;
mod operation;
#[cfg(test)]
pub(crate) mod tests;
mod translate;

pub use desired::{AdoptedDevice, Bridge, Desired, Facts, Inside, Namespace, Uplink, Veth};
pub use diff::plan;
pub use observed::{Attachment, Hook, Observed, ObservedBridge, ObservedInside, ObservedVeth};
pub(crate) use translate::mtu;

pub use operation::{Operation, Phase};

/// Entries of maps in types of the model. `datapath` converts them to the map schema.
pub mod entries {
    use std::net::IpAddr;

    use ipnet::IpNet;
    use netpath_common::addr::MacAddr;
    use serde::{Deserialize, Serialize};

    use crate::model::{Name, Protocol};

    /// An entry of `endpoints`.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EndpointEntry {
        /// Name of the host interface.
        pub host_interface: String,
        /// Generation of the slot.
        pub generation: u32,
        /// Index of the network.
        pub network: u32,
        /// Flags of the network in the map schema.
        pub flags: u32,
        /// Interface name of the bridge.
        pub bridge: String,
        /// MTU of the endpoint.
        pub mtu: u32,
        /// MAC address of the container interface.
        #[serde(with = "crate::model::mac_text")]
        pub mac: MacAddr,
        /// MAC address of the bridge.
        #[serde(with = "crate::model::mac_text")]
        pub gateway_mac: MacAddr,
        /// At most one for each family.
        pub addresses: Vec<IpAddr>,
        /// At most one for each family.
        pub gateways: Vec<IpAddr>,
        /// Name of the sandbox.
        pub sandbox: Name,
    }

    /// An entry of `networks`.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct NetworkEntry {
        /// Flags in the map schema.
        pub flags: u32,
        /// Interface name of the bridge.
        pub bridge: String,
        /// Name.
        pub name: Name,
    }

    /// An entry of `subnets`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SubnetEntry {
        /// Index of the network.
        pub network: u32,
        /// Flags of the network.
        pub flags: u32,
    }

    /// An entry of `addresses`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum AddressEntry {
        /// An address of the node.
        Host,
        /// The gateway of one of netpath's networks.
        Gateway,
        /// Of the endpoint in this slot.
        Endpoint(u32),
    }

    /// Key of `ports`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub struct PortKey {
        /// Transport protocol.
        pub protocol: Protocol,
        /// `None` for every address; `0.0.0.0` and `::` for every address of one family.
        pub host_ip: Option<IpAddr>,
        /// First host port.
        pub first: u16,
        /// Last host port.
        pub last: u16,
    }

    /// An entry of `ports`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PortEntry {
        /// Container port for the first host port.
        pub target: u16,
        /// Slot of the endpoint.
        pub endpoint: u32,
        /// Generation of that slot.
        pub generation: u32,
        /// Allow-list; 0 for none.
        pub allow: u32,
    }

    /// Key of `allow`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub struct AllowEntry {
        /// Number of the list.
        pub list: u32,
        /// Allowed sources.
        pub prefix: IpNet,
    }
}

/// A map with composite keys as a list of pairs, for formats whose keys are text.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
