//! Sandboxes and their endpoints.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use serde::{Deserialize, Serialize};

use super::{Id, Name, Owner, PortMapping, Rate};

/// How a sandbox is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum NetworkMode {
    /// It has endpoints in networks.
    Network,
    /// It uses the namespace of the node.
    Host,
    /// It has a loopback device only.
    None,
    /// It uses the namespace of another sandbox.
    Container(Name),
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("network"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

impl FromStr for NetworkMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "network" => Ok(Self::Network),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("container:") {
                Some(name) => name
                    .parse()
                    .map(Self::Container)
                    .map_err(|error| format!("{error}")),
                None => Err(format!("'{text}' is not a network mode")),
            },
        }
    }
}

impl TryFrom<String> for NetworkMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<NetworkMode> for String {
    fn from(mode: NetworkMode) -> Self {
        mode.to_string()
    }
}

/// A process, identified by PID and start time, because a later process may have the same PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// PID.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start: u64,
}

/// A network namespace. The kernel reuses its inode number as soon as the namespace is removed, but not its cookie before
/// the machine restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetnsId {
    /// Inode number.
    pub inode: u64,
    /// Cookie (`SO_NETNS_COOKIE`); 0 in a record of an earlier version of netpath.
    #[serde(default)]
    pub cookie: u64,
    /// First 64 bits of the boot id of the machine (`/proc/sys/kernel/random/boot_id`).
    #[serde(default)]
    pub boot: u64,
}

impl NetnsId {
    /// Whether `found` is this namespace. Only the inode numbers are compared if the cookie is not known.
    pub fn is(&self, found: &Self) -> bool {
        let same = self.cookie == 0 || (self.cookie, self.boot) == (found.cookie, found.boot);
        self.inode == found.inode && same
    }
}

impl NetnsSource {
    /// The adopted namespace; `None` if the namespace is not adopted.
    pub fn adopted(&self) -> Option<NetnsId> {
        match self {
            Self::Path { namespace } | Self::Process { namespace, .. } => Some(*namespace),
            Self::Created | Self::Shared => None,
        }
    }
}

/// Source of a sandbox's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetnsSource {
    /// netpath has created it and removes it.
    Created,
    /// Adopted by path; `namespace` distinguishes it from a later namespace at the same path.
    Path {
        /// The namespace.
        #[serde(flatten)]
        namespace: NetnsId,
    },
    /// Adopted from a process.
    Process {
        /// The process.
        process: ProcessId,
        /// The namespace.
        #[serde(flatten)]
        namespace: NetnsId,
    },
    /// The namespace of the node, or of another sandbox.
    Shared,
}

/// A veth pair that connects a sandbox to a network. An endpoint may exist before its sandbox; it has no devices then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Random, unique.
    pub id: Id,
    /// The network.
    pub network: Name,
    /// Name of the container link: `eth0`, `eth1`, …
    pub interface: String,
    /// MAC address of the container link.
    pub mac: MacAddr,
    /// At most one for each family, with the prefix length of the subnet.
    pub addresses: Vec<IpNet>,
    /// Program that manages it.
    pub owner: Owner,
    /// Limit of each direction.
    pub rate: Option<Rate>,
    /// Name of the host interface if another program has created the veth pair. netpath never changes or removes it.
    pub adopted: Option<String>,
    /// Slot in the map `endpoints`, from 1. Unique on the node.
    pub slot: u32,
    /// Generation of the slot. Each membership in a sandbox has another generation; no generation is reused.
    pub generation: u32,
}

/// The holder of an address or MAC address in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A sandbox.
    Sandbox(Name),
    /// An endpoint without a sandbox.
    Endpoint(Id),
    /// An endpoint that is being created.
    NewEndpoint,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox(name) => write!(f, "sandbox '{name}'"),
            Self::Endpoint(id) => write!(f, "endpoint {id}"),
            Self::NewEndpoint => f.write_str("the endpoint"),
        }
    }
}

impl From<&Name> for Holder {
    fn from(sandbox: &Name) -> Self {
        Self::Sandbox(sandbox.clone())
    }
}

impl Endpoint {
    /// Its address of the same family as `like`.
    pub fn address(&self, like: IpAddr) -> Option<IpAddr> {
        self.addresses
            .iter()
            .map(IpNet::addr)
            .find(|ip| ip.is_ipv4() == like.is_ipv4())
    }

    /// Name of the host interface.
    pub fn host_interface(&self) -> String {
        let own = || self.id.interface("npv-");
        self.adopted.clone().unwrap_or_else(own)
    }
}

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Random, unique.
    pub id: Id,
    /// Name, unique.
    pub name: Name,
    /// How it is connected.
    pub mode: NetworkMode,
    /// Path of its namespace.
    pub netns: PathBuf,
    /// Source of its namespace.
    pub source: NetnsSource,
    /// The sandbox is removed when this process ends.
    pub process: Option<ProcessId>,
    /// Host name.
    pub hostname: String,
    /// Program that manages it, its endpoints and its ports.
    pub owner: Owner,
    /// Whether it forwards packets for others: a gateway or a VPN router of its networks.
    pub forwarding: bool,
    /// Endpoints; those in networks with external access come first, and the first one carries the published ports.
    pub endpoints: Vec<Endpoint>,
    /// Published ports.
    pub ports: Vec<PortMapping>,
}

impl Sandbox {
    /// The endpoint in `network`.
    pub fn endpoint(&self, network: &Name) -> Option<&Endpoint> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.network == *network)
    }
}

pub(crate) mod mac_text {
    use netpath_common::addr::MacAddr;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(mac: &MacAddr, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MacAddr, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_mac(&text)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is not a MAC address")))
    }
}

/// A MAC address that may be absent, as text.
pub(crate) mod optional_mac_text {
    use netpath_common::addr::MacAddr;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(with = "super::mac_text")] MacAddr);

    pub fn serialize<S: Serializer>(
        mac: &Option<MacAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        mac.map(Text).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MacAddr>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.map(|Text(mac)| mac))
    }
}

/// A MAC address from its text form, `02:00:5e:00:53:01`; `None` if the text is not one.
pub fn parse_mac(text: &str) -> Option<MacAddr> {
    let mut octets = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut octets {
        let part = parts.next()?;
        *octet = u8::from_str_radix(part, 16)
            .ok()
            .filter(|_| part.len() == 2)?;
    }
    parts.next().is_none().then_some(MacAddr(octets))
}
