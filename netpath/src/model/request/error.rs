//! Why a request is refused.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::addr::MacAddr;

use crate::{
    ipam::AddressError,
    model::{Holder, Id, Name, Owner, PortSpec, Protocol, port::Span, state::Unknown},
};

/// What kind of refusal it is; the API makes a status of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense: 400.
    Invalid,
    /// It names something that does not exist: 404.
    NotFound,
    /// It does not fit what exists: 409.
    Conflict,
    /// netpath cannot do it: 400.
    Unsupported,
}

/// Why a request is refused. The message says what and why, [`RequestError::hint`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nothing has that name.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// Something has that name already.
    #[error("{kind} '{name}' exists already")]
    Exists {
        /// `network` or `sandbox`.
        kind: &'static str,
        /// Name.
        name: Name,
    },
    /// `bridge`, `host` and `none` stay.
    #[error("network '{name}' is built in and cannot be removed")]
    BuiltIn {
        /// Name.
        name: Name,
    },
    /// It has users.
    #[error("{kind} '{name}' is in use by {}", list(users))]
    InUse {
        /// `network` or `sandbox`.
        kind: &'static str,
        /// Name.
        name: Name,
        /// Sandboxes that use it.
        users: Vec<Name>,
    },
    /// The driver cannot be used.
    #[error("network '{name}' cannot have driver {driver}: {reason}")]
    Driver {
        /// Name of the network.
        name: Name,
        /// The driver.
        driver: crate::model::Driver,
        /// In words.
        reason: &'static str,
    },
    /// A subnet, gateway or range makes no sense.
    #[error("network '{name}' cannot have {what}: {reason}")]
    Subnet {
        /// Name of the network.
        name: Name,
        /// The prefix or address.
        what: String,
        /// In words.
        reason: String,
    },
    /// A subnet overlaps something.
    #[error("subnet {subnet} of network '{name}' overlaps {other} {owner}")]
    Overlap {
        /// Name of the network.
        name: Name,
        /// The subnet.
        subnet: IpNet,
        /// What it overlaps.
        other: IpNet,
        /// Whose that is.
        owner: String,
    },
    /// Every pool is used up.
    #[error(
        "network '{name}' gets no subnet: every block of the pools is used by a network or a route of this host"
    )]
    PoolsExhausted {
        /// Name of the network.
        name: Name,
    },
    /// An option of a network makes no sense.
    #[error("network '{name}' cannot have {option}: {reason}")]
    NetworkOption {
        /// Name of the network.
        name: Name,
        /// The option with its value.
        option: String,
        /// In words.
        reason: &'static str,
    },
    /// Options of a sandbox do not fit together.
    #[error("sandbox '{name}' cannot have {option}: {reason}")]
    SandboxOption {
        /// Name of the sandbox.
        name: String,
        /// The option with its value.
        option: String,
        /// In words.
        reason: String,
    },
    /// A namespace is another sandbox's.
    #[error("the namespace at {path} is that of sandbox '{owner}' already")]
    Adopted {
        /// Path.
        path: String,
        /// Who has it.
        owner: Name,
    },
    /// An address cannot be had.
    #[error("{holder} cannot join network '{network}': {reason}{}", owner_text(.owner.as_ref()))]
    Address {
        /// Who asks for the address.
        holder: Holder,
        /// The network.
        network: Name,
        /// Why.
        reason: AddressError,
        /// Who has it.
        owner: Option<Holder>,
    },
    /// The network has no subnet of the address's family.
    #[error("{holder} cannot have address {ip}: network '{network}' has no subnet of that family")]
    Family {
        /// Who asks for the address.
        holder: Holder,
        /// The network.
        network: Name,
        /// The address.
        ip: IpAddr,
    },
    /// No address is left.
    #[error("{holder} cannot join network '{network}': every address of {subnet} is in use")]
    AddressesExhausted {
        /// Who asks for an address.
        holder: Holder,
        /// The network.
        network: Name,
        /// The subnet, or the part that addresses come from.
        subnet: IpNet,
    },
    /// A MAC address cannot be had.
    #[error("{holder} cannot have MAC address {mac}: {reason}")]
    Mac {
        /// Who asks for the address.
        holder: Holder,
        /// The address.
        mac: MacAddr,
        /// In words.
        reason: String,
    },
    /// It is in that network already.
    #[error("sandbox '{sandbox}' is connected to network '{network}' already")]
    Connected {
        /// The sandbox.
        sandbox: Name,
        /// The network.
        network: Name,
    },
    /// It is not in that network.
    #[error("sandbox '{sandbox}' is not connected to network '{network}'")]
    NotConnected {
        /// The sandbox.
        sandbox: Name,
        /// The network.
        network: Name,
    },
    /// The sandbox's mode excludes it.
    #[error("{holder} cannot {verb}: {reason}")]
    Mode {
        /// The sandbox or endpoint.
        holder: Holder,
        /// What it cannot do, as a verb.
        verb: String,
        /// In words.
        reason: String,
    },
    /// A port cannot be published for a reason that lies in the request.
    #[error("port {spec} of sandbox '{sandbox}' cannot be published: {reason}")]
    Port {
        /// The sandbox.
        sandbox: Name,
        /// What was asked for.
        spec: PortSpec,
        /// In words.
        reason: String,
    },
    /// Another sandbox publishes it.
    #[error("port {}/{protocol} is published by sandbox '{owner}' already", Span(*.ports))]
    Published {
        /// First and last of the range that is in the way.
        ports: (u16, u16),
        /// Protocol.
        protocol: Protocol,
        /// Who publishes it.
        owner: Name,
    },
    /// A program of the node listens on it.
    #[error("port {port}/{protocol} is in use by {owner}")]
    Listening {
        /// Port.
        port: u16,
        /// Protocol.
        protocol: Protocol,
        /// The program.
        owner: String,
    },
    /// No free range is left.
    #[error("port {spec} of sandbox '{sandbox}' cannot be published: no free host port is left in {}", Span(*.range))]
    PortsExhausted {
        /// The sandbox.
        sandbox: Name,
        /// What was asked for.
        spec: PortSpec,
        /// Where one was looked for.
        range: (u16, u16),
    },
    /// It is not published.
    #[error("sandbox '{sandbox}' does not publish port {spec}; it publishes {}", list_or(.published, "none"))]
    NotPublished {
        /// The sandbox.
        sandbox: Name,
        /// What was asked for.
        spec: PortSpec,
        /// What it publishes.
        published: Vec<String>,
    },
    /// Its ports cannot follow it to another network.
    #[error(
        "the published ports of sandbox '{sandbox}' cannot move between networks of gateway modes nat and routed"
    )]
    PortsCannotMove {
        /// The sandbox.
        sandbox: Name,
    },
    /// The object belongs to another owner.
    #[error("{kind} '{name}' belongs to {owner}")]
    Owned {
        /// `network`, `sandbox` or `endpoint`.
        kind: &'static str,
        /// Name or id.
        name: String,
        /// Its owner.
        owner: Owner,
    },
    /// A bridge cannot be adopted.
    #[error("bridge {name} cannot be adopted: {reason}")]
    AdoptBridge {
        /// Interface name.
        name: String,
        /// In words.
        reason: String,
    },
    /// A veth pair cannot be adopted.
    #[error("veth pair {name} cannot be adopted: {reason}")]
    AdoptVeth {
        /// Name of the host interface.
        name: String,
        /// In words.
        reason: String,
    },
    /// The kernel does not forward packets that arrive on an adopted bridge.
    #[error(
        "bridge {bridge} cannot be adopted: forwarding is off, so no route can be looked up for its packets"
    )]
    Forwarding {
        /// Interface name.
        bridge: String,
        /// `ipv4` or `ipv6`.
        family: &'static str,
    },
    /// An interface name is invalid.
    #[error(
        "'{name}' is not an interface name: it has 1 to 15 bytes, without '/', ':' and white space"
    )]
    Interface {
        /// The name.
        name: String,
    },
    /// The endpoint has a sandbox already.
    #[error("endpoint {endpoint} is joined to sandbox '{sandbox}' already")]
    Joined {
        /// The endpoint.
        endpoint: Id,
        /// Its sandbox.
        sandbox: Name,
    },
    /// The endpoint has no sandbox.
    #[error("endpoint {endpoint} is not joined to a sandbox")]
    NotJoined {
        /// The endpoint.
        endpoint: Id,
    },
    /// An endpoint without a sandbox uses the network.
    #[error("network '{name}' is in use by endpoint {endpoint}")]
    HasEndpoint {
        /// The network.
        name: Name,
        /// The endpoint.
        endpoint: Id,
    },
    /// A table of the map schema is full.
    #[error("no {what} is left: all {capacity} are in use")]
    Exhausted {
        /// What.
        what: &'static str,
        /// How many there are.
        capacity: u32,
    },
}

impl RequestError {
    /// What kind of refusal it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_)
            | Self::NotConnected { .. }
            | Self::NotJoined { .. }
            | Self::NotPublished { .. } => ErrorKind::NotFound,
            Self::Driver { .. } => ErrorKind::Unsupported,
            Self::Port { spec, .. } if spec.protocol == Protocol::Sctp => ErrorKind::Unsupported,
            Self::Address {
                reason: AddressError::Taken { .. },
                ..
            }
            | Self::Exists { .. }
            | Self::BuiltIn { .. }
            | Self::InUse { .. }
            | Self::Overlap { .. }
            | Self::PoolsExhausted { .. }
            | Self::Adopted { .. }
            | Self::AddressesExhausted { .. }
            | Self::Connected { .. }
            | Self::Mode { .. }
            | Self::Published { .. }
            | Self::Listening { .. }
            | Self::PortsExhausted { .. }
            | Self::PortsCannotMove { .. }
            | Self::Owned { .. }
            | Self::AdoptBridge { .. }
            | Self::AdoptVeth { .. }
            | Self::Forwarding { .. }
            | Self::Joined { .. }
            | Self::HasEndpoint { .. }
            | Self::Exhausted { .. } => ErrorKind::Conflict,
            Self::Subnet { .. }
            | Self::NetworkOption { .. }
            | Self::SandboxOption { .. }
            | Self::Address { .. }
            | Self::Family { .. }
            | Self::Mac { .. }
            | Self::Interface { .. }
            | Self::Port { .. } => ErrorKind::Invalid,
        }
    }

    /// What to do about it, one line.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown(unknown) if unknown.kind == "endpoint" => {
                "GET /v1/endpoints lists endpoints".to_owned()
            }
            Self::Unknown(unknown) => format!("'netpath {} ls' lists what exists", unknown.kind),
            Self::Exists { kind, name } => {
                format!("choose another name, or remove it with 'netpath {kind} rm {name}'")
            }
            Self::BuiltIn { .. } => "leave it; a network that nobody uses costs nothing".to_owned(),
            Self::InUse {
                kind: "network",
                name,
                users,
            } => match users.first() {
                Some(user) => format!(
                    "disconnect them, for example with 'netpath network disconnect {name} {user}'"
                ),
                None => "disconnect them first".to_owned(),
            },
            Self::InUse { .. } => "remove the sandboxes that use it first".to_owned(),
            Self::Driver { .. } => "use --driver bridge".to_owned(),
            Self::Subnet { .. } => {
                "give a prefix without host bits, for example --subnet 172.30.1.0/24".to_owned()
            }
            Self::Overlap { .. } => {
                "choose another --subnet, or leave it out to get a free one".to_owned()
            }
            Self::PoolsExhausted { .. } => {
                "give one with --subnet, or start the daemon with another --pool".to_owned()
            }
            Self::NetworkOption { .. } | Self::SandboxOption { .. } => {
                "leave the option out".to_owned()
            }
            Self::Adopted { owner, .. } => {
                format!("use --network container:{owner}, or remove sandbox '{owner}' first")
            }
            Self::Address { .. } | Self::Family { .. } => {
                "ask for another address, or leave --ip out".to_owned()
            }
            Self::AddressesExhausted { .. } => {
                "remove sandboxes, or make a network with a larger --subnet".to_owned()
            }
            Self::Mac { .. } => "ask for another one, or leave --mac out".to_owned(),
            Self::Connected { .. } => "no action is needed".to_owned(),
            Self::NotConnected { sandbox, .. } => {
                format!("'netpath sandbox inspect {sandbox}' shows its networks")
            }
            Self::Mode { .. } => "make the sandbox with --network NETWORK instead".to_owned(),
            Self::Port { .. } => "change the port specification".to_owned(),
            Self::Published { owner, .. } => {
                format!("choose another host port, or see 'netpath port ls {owner}'")
            }
            Self::Listening { .. } => "choose another host port, or stop that program".to_owned(),
            Self::PortsExhausted { .. } => "give host ports that are free".to_owned(),
            Self::NotPublished { sandbox, .. } => {
                format!("'netpath port ls {sandbox}' shows its ports")
            }
            Self::PortsCannotMove { sandbox } => {
                format!("take them back first with 'netpath port unpublish {sandbox} SPEC'")
            }
            Self::Exhausted { .. } => "remove objects that are not needed".to_owned(),
            Self::Owned { owner, .. } => {
                format!("change it with {owner}, or use --force (HTTP: ?force=true)")
            }
            Self::AdoptBridge { .. } => {
                "name a bridge of this host with --adopt, and subnets with --subnet".to_owned()
            }
            Self::AdoptVeth { .. } => {
                "name the host interface of a veth pair on the bridge of the network".to_owned()
            }
            Self::Forwarding { bridge, family } => {
                format!(
                    "turn it on with 'sysctl -w net.{family}.conf.{bridge}.forwarding=1', or use --internal"
                )
            }
            Self::Interface { .. } => "choose another name".to_owned(),
            Self::Joined { endpoint, .. } => {
                format!("separate it first with POST /v1/endpoints/{endpoint}/leave")
            }
            Self::NotJoined { .. } => "no action is needed".to_owned(),
            Self::HasEndpoint { endpoint, .. } => {
                format!("remove it first with DELETE /v1/endpoints/{endpoint}")
            }
        }
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let texts: Vec<_> = items
        .iter()
        .take(8)
        .map(|item| format!("'{item}'"))
        .collect();
    let rest = items.len() - texts.len();
    let texts = texts.join(", ");
    if rest == 0 {
        texts
    } else {
        format!("{texts} and {rest} more")
    }
}

fn list_or(items: &[String], none: &str) -> String {
    if items.is_empty() {
        none.to_owned()
    } else {
        list(items)
    }
}

fn owner_text(owner: Option<&Holder>) -> String {
    owner.map_or_else(String::new, |owner| format!(" by {owner}"))
}
