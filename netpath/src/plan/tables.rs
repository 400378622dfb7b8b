//! The planned tables: the maps whose entries follow from the state of the control plane.
//!
//! `for_each_table!` is the list of them. [`Entries`], [`Addition`] and [`Removal`], the steps of the planner, and the
//! reading and writing of the maps are derived from it. A new table needs the declaration of its map in
//! `netpath_common::maps`; here, its line in the list and its entry type with an [`Entry`] implementation;
//! `plan/translate.rs`, which fills it; and an implementation of `MapTable` in `datapath/tables`.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use serde::{Deserialize, Serialize};

use super::{Interface, Operation, display::List};
use crate::model::{Name, Protocol, Rate};

/// Calls `$callback` with every planned table: the field of [`Entries`], the variant of [`Addition`] and [`Removal`], and
/// the type of an entry. Entries are added in this order and removed in the reverse order.
macro_rules! for_each_table {
    ($callback:ident) => {
        $callback! {
            interfaces: Interfaces($crate::plan::Interface),
            subnets: Subnets($crate::plan::tables::SubnetEntry),
            denied: Denied($crate::plan::denied::DeniedEntry),
            networks: Networks($crate::plan::tables::NetworkEntry),
            endpoints: Endpoints($crate::plan::tables::EndpointEntry),
            addresses: Addresses($crate::plan::tables::AddressEntry),
            peers: Peers($crate::plan::overlay::PeerEntry),
            remotes: Remotes($crate::plan::overlay::RemoteEntry),
            vnis: Vnis($crate::plan::overlay::VniEntry),
            tunnel: Tunnel($crate::plan::overlay::TunnelEntry),
            allow: Allow($crate::plan::tables::AllowEntry),
            ports: Ports($crate::plan::tables::PortEntry),
            own_ports: OwnPorts($crate::plan::own_ports::OwnPortEntry),
        }
    };
}
pub(crate) use for_each_table;

/// When entries are added, relative to bridges and veth pairs. They are removed before any device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Before bridges and veth pairs are created, and after the programs of the interfaces are attached.
    BeforeDevices,
    /// After bridges and veth pairs are created and set up.
    AfterDevices,
}

/// An entry of a planned table, in types of the model. `datapath` converts it to the map schema.
pub trait Entry: Clone + fmt::Debug + PartialEq {
    /// Its key.
    type Key: Clone + fmt::Debug + Ord;

    /// Noun for an entry in messages, in the singular.
    const NOUN: &'static str;
    /// When entries are added.
    const ORDER: Order;
    /// Whether one operation adds or removes all entries of a plan, because there may be thousands.
    const BATCHED: bool;

    /// Interfaces whose indices the entry holds. When one of them is created, the entry is written again.
    fn interfaces(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Slot of the endpoint that the entry refers to. The entry is removed before the endpoint.
    fn endpoint(&self) -> Option<u32> {
        None
    }

    /// The key in messages.
    fn key_text(key: &Self::Key) -> String;

    /// The entry in messages.
    fn text(key: &Self::Key, _entry: &Self) -> String {
        Self::key_text(key)
    }
}

/// A table of [`Entries`].
pub trait Table: Entry {
    /// The entries of this table.
    fn of(entries: &Entries) -> &BTreeMap<Self::Key, Self>;

    /// The entries of this table, to be changed.
    fn of_mut(entries: &mut Entries) -> &mut BTreeMap<Self::Key, Self>;

    /// Adds the entries, or replaces those with the same key.
    fn put(list: Vec<(Self::Key, Self)>) -> Operation;

    /// Removes the entries with these keys.
    fn remove(keys: Vec<Self::Key>) -> Operation;
}

macro_rules! declare {
    ($($field:ident: $Table:ident($Entry:ty),)+) => {
        /// Entries of every planned table.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Entries {
            $(
                #[doc = concat!("Table `", stringify!($Table), "`.")]
                #[serde(with = "pairs")]
                pub $field: BTreeMap<<$Entry as Entry>::Key, $Entry>,
            )+
        }

        /// Entries of one table to be added.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Addition {
            $(
                #[doc = concat!("To [`Entries::", stringify!($field), "`].")]
                $Table(Vec<(<$Entry as Entry>::Key, $Entry)>),
            )+
        }

        /// Entries of one table to be removed.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Removal {
            $(
                #[doc = concat!("From [`Entries::", stringify!($field), "`].")]
                $Table(Vec<<$Entry as Entry>::Key>),
            )+
        }

        $(
            impl Table for $Entry {
                fn of(entries: &Entries) -> &BTreeMap<Self::Key, Self> {
                    &entries.$field
                }

                fn of_mut(entries: &mut Entries) -> &mut BTreeMap<Self::Key, Self> {
                    &mut entries.$field
                }

                fn put(list: Vec<(Self::Key, Self)>) -> Operation {
                    Operation::Put(Addition::$Table(list))
                }

                fn remove(keys: Vec<Self::Key>) -> Operation {
                    Operation::Remove(Removal::$Table(keys))
                }
            }
        )+

        impl fmt::Display for Addition {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$Table(list) => {
                        let items = list.iter().map(|(key, entry)| <$Entry>::text(key, entry));
                        write!(f, "add {}", List(<$Entry>::NOUN, items))
                    })+
                }
            }
        }

        impl fmt::Display for Removal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$Table(keys) => {
                        write!(f, "remove {}", List(<$Entry>::NOUN, keys.iter().map(<$Entry>::key_text)))
                    })+
                }
            }
        }
    };
}

for_each_table!(declare);

/// An entry of `interfaces`, by name.
impl Entry for Interface {
    type Key = String;
    const NOUN: &'static str = "interface";
    const ORDER: Order = Order::BeforeDevices;
    const BATCHED: bool = false;

    fn key_text(name: &String) -> String {
        name.clone()
    }

    fn text(name: &String, entry: &Self) -> String {
        let use_text = if entry.is_uplink { "uplink" } else { "guarded" };
        format!("{name} with MTU {}, {use_text}", entry.mtu)
    }
}

/// An entry of `subnets`, by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetEntry {
    /// Index of the network.
    pub network: u32,
    /// Flags of the network.
    pub flags: u32,
}

impl Entry for SubnetEntry {
    type Key = IpNet;
    const NOUN: &'static str = "subnet";
    // An endpoint must not send from a subnet without an entry.
    const ORDER: Order = Order::BeforeDevices;
    const BATCHED: bool = false;

    fn key_text(prefix: &IpNet) -> String {
        prefix.to_string()
    }

    fn text(prefix: &IpNet, entry: &Self) -> String {
        format!("{prefix} of network {}", entry.network)
    }
}

/// An entry of `networks`, by index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEntry {
    /// Flags in the map schema.
    pub flags: u32,
    /// Interface name of the bridge.
    pub bridge: String,
    /// Identifier of an overlay network in tunnel packets; 0 for another network.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub vni: u32,
    /// Name of the network.
    pub name: Name,
}

impl Entry for NetworkEntry {
    type Key = u32;
    const NOUN: &'static str = "network";
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = false;

    fn interfaces(&self) -> Vec<&str> {
        vec![&self.bridge]
    }

    fn key_text(index: &u32) -> String {
        format!("with index {index}")
    }

    fn text(index: &u32, entry: &Self) -> String {
        format!("'{}' with index {index}", entry.name)
    }
}

/// An entry of `endpoints`, by slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointEntry {
    /// Name of the host interface; empty in an observed entry if the interface was removed.
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
    /// MAC address of the container link.
    #[serde(with = "crate::model::mac_text")]
    pub mac: MacAddr,
    /// MAC address of the bridge.
    #[serde(with = "crate::model::mac_text")]
    pub gateway_mac: MacAddr,
    /// At most one for each family.
    pub addresses: Vec<IpAddr>,
    /// At most one for each family.
    pub gateways: Vec<IpAddr>,
    /// Slot of the next endpoint of a sandbox that forwards packets; 0 if it has no other endpoint.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub next: u32,
    /// Limit of each direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Name of the sandbox.
    pub sandbox: Name,
}

/// Whether a number is omitted.
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Entry for EndpointEntry {
    type Key = u32;
    const NOUN: &'static str = "endpoint";
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = false;

    fn interfaces(&self) -> Vec<&str> {
        vec![&self.host_interface, &self.bridge]
    }

    fn key_text(slot: &u32) -> String {
        format!("in slot {slot}")
    }

    fn text(slot: &u32, entry: &Self) -> String {
        format!(
            "in slot {slot} with {} of sandbox '{}', generation {}",
            entry.host_interface, entry.sandbox, entry.generation
        )
    }
}

/// An entry of `addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressEntry {
    /// An address of the node.
    Host,
    /// The gateway of one of netpath's networks.
    Gateway,
    /// An address of the endpoint in this slot.
    Endpoint(u32),
}

impl Entry for AddressEntry {
    type Key = IpAddr;
    const NOUN: &'static str = "address";
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = true;

    fn endpoint(&self) -> Option<u32> {
        match self {
            Self::Endpoint(slot) => Some(*slot),
            Self::Host | Self::Gateway => None,
        }
    }

    fn key_text(ip: &IpAddr) -> String {
        ip.to_string()
    }
}

/// Key of `allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllowKey {
    /// Number of the list.
    pub list: u32,
    /// Allowed sources.
    pub prefix: IpNet,
}

/// An entry of `allow`: the sources in the key may use the published ranges that name the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowEntry;

impl Entry for AllowEntry {
    type Key = AllowKey;
    const NOUN: &'static str = "allowed source";
    // `allow` precedes `ports` in `for_each_table`, so an allow-list has its entries before a range refers to it.
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = true;

    fn key_text(key: &AllowKey) -> String {
        format!("{} (list {})", key.prefix, key.list)
    }
}

/// Key of `ports`: a published range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortKey {
    /// Transport protocol.
    pub protocol: Protocol,
    /// `None` for every address; `0.0.0.0` and `::` for every address of one family.
    pub host_ip: Option<IpAddr>,
    /// First host port; in gateway mode `routed`, first container port.
    pub first: u16,
    /// Last host port; in gateway mode `routed`, last container port.
    pub last: u16,
}

/// `80-90/tcp`, `192.0.2.1:80/tcp`, `[2001:db8::1]:80/tcp`
impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        let span = crate::model::Span((self.first, self.last));
        write!(f, "{span}/{}", self.protocol)
    }
}

/// An entry of `ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortEntry {
    /// Container port for the first port of the key.
    pub target: u16,
    /// Slot of the endpoint.
    pub endpoint: u32,
    /// Generation of that slot.
    pub generation: u32,
    /// Number of the allow-list; 0 permits every source.
    pub allow: u32,
    /// Whether a container engine binds the ports with sockets of its own, so that netpath does not reserve them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_by_engine: bool,
}

impl Entry for PortEntry {
    type Key = PortKey;
    const NOUN: &'static str = "published port";
    const ORDER: Order = Order::AfterDevices;
    const BATCHED: bool = true;

    fn endpoint(&self) -> Option<u32> {
        Some(self.endpoint)
    }

    fn key_text(key: &PortKey) -> String {
        key.to_string()
    }
}

/// Serializes a table as a list of pairs, because some formats permit only text as keys.
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
