//! Why a request is refused.

mod hint;
mod text;

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::addr::MacAddr;

use crate::{
    ipam::AddressError,
    model::{
        Holder, Id, Name, Owner, PortSpec, Protocol, Vni, claims::KeepError, port::Span,
        state::Unknown,
    },
};

use text::{list, list_or, owner_text, plural};

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is invalid.
    Invalid,
    /// An object that it names does not exist.
    NotFound,
    /// It conflicts with an existing object.
    Conflict,
    /// netpath does not support it.
    Unsupported,
}

/// Why a request is refused. The message states the object and the reason, [`RequestError::hint`] what the user can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No object has this name.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The name is in use.
    #[error("{kind} '{name}' exists already")]
    Exists {
        /// `network` or `sandbox`.
        kind: &'static str,
        /// Name.
        name: Name,
    },
    /// `bridge`, `host` and `none` cannot be removed.
    #[error("network '{name}' is built in and cannot be removed")]
    BuiltIn {
        /// Name.
        name: Name,
    },
    /// Sandboxes use the object.
    #[error("{kind} '{name}' is in use by {}", list(users))]
    InUse {
        /// `network` or `sandbox`.
        kind: &'static str,
        /// Name.
        name: Name,
        /// Sandboxes that use it.
        users: Vec<Name>,
    },
    /// The driver is not available.
    #[error("network '{name}' cannot have driver {driver}: {reason}")]
    Driver {
        /// Name of the network.
        name: Name,
        /// The driver.
        driver: crate::model::Driver,
        /// Reason, as text for users.
        reason: &'static str,
    },
    /// A subnet, gateway or range is invalid.
    #[error("network '{name}' cannot have {what}: {reason}")]
    Subnet {
        /// Name of the network.
        name: Name,
        /// The prefix or address.
        what: String,
        /// Reason, as text for users.
        reason: String,
    },
    /// A subnet overlaps another prefix.
    #[error("subnet {subnet} of network '{name}' overlaps {other} {owner}")]
    Overlap {
        /// Name of the network.
        name: Name,
        /// The subnet.
        subnet: IpNet,
        /// The other prefix.
        other: IpNet,
        /// Where the other prefix is used.
        owner: String,
    },
    /// No block of the pools is free.
    #[error(
        "no free subnet for network '{name}': every block of the pools is used by a network or a route of this host"
    )]
    PoolsExhausted {
        /// Name of the network.
        name: Name,
    },
    /// An option of a network is invalid.
    #[error("network '{name}' cannot have {option}: {reason}")]
    NetworkOption {
        /// Name of the network.
        name: Name,
        /// The option with its value.
        option: String,
        /// Reason, as text for users.
        reason: &'static str,
    },
    /// Options of a sandbox exclude each other.
    #[error("sandbox '{name}' cannot have {option}: {reason}")]
    SandboxOption {
        /// Name of the sandbox.
        name: String,
        /// The option with its value.
        option: String,
        /// Reason, as text for users.
        reason: String,
    },
    /// Another sandbox has the namespace.
    #[error("the namespace at {path} belongs to sandbox '{owner}' already")]
    Adopted {
        /// Path.
        path: String,
        /// The other sandbox.
        owner: Name,
    },
    /// An address is not available.
    #[error("{holder} cannot join network '{network}': {reason}{}", owner_text(.owner.as_ref()))]
    Address {
        /// The requester of the address.
        holder: Holder,
        /// The network.
        network: Name,
        /// Why it is not available.
        reason: AddressError,
        /// Current holder of the address; `None` if none is known.
        owner: Option<Holder>,
    },
    /// The network has no subnet of the address's family.
    #[error("{holder} cannot have address {ip}: network '{network}' has no subnet of that family")]
    Family {
        /// The requester of the address.
        holder: Holder,
        /// The network.
        network: Name,
        /// The address.
        ip: IpAddr,
    },
    /// No address is free.
    #[error("{holder} cannot join network '{network}': every address of {subnet} is in use")]
    AddressesExhausted {
        /// The requester of an address.
        holder: Holder,
        /// The network.
        network: Name,
        /// The subnet, or the part that addresses come from.
        subnet: IpNet,
    },
    /// A MAC address is not available.
    #[error("{holder} cannot have MAC address {mac}: {reason}")]
    Mac {
        /// The requester of the address.
        holder: Holder,
        /// The address.
        mac: MacAddr,
        /// Reason, as text for users.
        reason: String,
    },
    /// The sandbox is connected already.
    #[error("sandbox '{sandbox}' is connected to network '{network}' already")]
    Connected {
        /// The sandbox.
        sandbox: Name,
        /// The network.
        network: Name,
    },
    /// The sandbox is not connected.
    #[error("sandbox '{sandbox}' is not connected to network '{network}'")]
    NotConnected {
        /// The sandbox.
        sandbox: Name,
        /// The network.
        network: Name,
    },
    /// The network mode or the network excludes the operation.
    #[error("{holder} cannot {verb}: {reason}")]
    Mode {
        /// The sandbox or endpoint.
        holder: Holder,
        /// The operation, as a verb phrase.
        verb: String,
        /// Reason, as text for users.
        reason: String,
    },
    /// The port specification is invalid.
    #[error("port {spec} of sandbox '{sandbox}' cannot be published: {reason}")]
    Port {
        /// The sandbox.
        sandbox: Name,
        /// The specification.
        spec: PortSpec,
        /// Reason, as text for users.
        reason: String,
    },
    /// Another sandbox publishes the port.
    #[error("port {}/{protocol} is published by sandbox '{owner}' already", Span(*.ports))]
    Published {
        /// First and last port of the conflicting range.
        ports: (u16, u16),
        /// Protocol.
        protocol: Protocol,
        /// The sandbox that publishes it.
        owner: Name,
    },
    /// A program of the node listens on the port.
    #[error("port {port}/{protocol} is in use by {owner}")]
    Listening {
        /// Port.
        port: u16,
        /// Protocol.
        protocol: Protocol,
        /// The program.
        owner: String,
    },
    /// Too many allowed sources.
    #[error(
        "the ports of sandbox '{sandbox}' cannot have {length} allowed sources: the limit is {limit}"
    )]
    AllowList {
        /// The sandbox.
        sandbox: Name,
        /// Number of the sources.
        length: usize,
        /// Largest number.
        limit: usize,
    },
    /// No host port is free.
    #[error("port {spec} of sandbox '{sandbox}' cannot be published: no host port is free in {}", Span(*.range))]
    PortsExhausted {
        /// The sandbox.
        sandbox: Name,
        /// The specification.
        spec: PortSpec,
        /// First and last port of the searched range.
        range: (u16, u16),
    },
    /// The sandbox does not publish the port.
    #[error("sandbox '{sandbox}' does not publish port {spec}; it publishes {}", list_or(.published, "none"))]
    NotPublished {
        /// The sandbox.
        sandbox: Name,
        /// The specification.
        spec: PortSpec,
        /// Ports that it publishes.
        published: Vec<String>,
    },
    /// Published ports cannot move to another network.
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
        /// Reason, as text for users.
        reason: String,
    },
    /// A veth pair cannot be adopted.
    #[error("veth pair {name} cannot be adopted: {reason}")]
    AdoptVeth {
        /// Name of the host interface.
        name: String,
        /// Reason, as text for users.
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
        "'{name}' is not an interface name: it must have 1 to 15 bytes, without '/', ':' and white space"
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
    /// Another overlay network has the VXLAN network identifier.
    #[error("network '{name}' cannot have --vni {vni}: network '{owner}' has it")]
    VniTaken {
        /// Name of the network.
        name: Name,
        /// The identifier.
        vni: Vni,
        /// The other network.
        owner: Name,
    },
    /// Nodes use an overlay network.
    #[error("network '{name}' is in use on {} {}", plural("node", .nodes), list(.nodes))]
    InUseOn {
        /// The network.
        name: Name,
        /// Names of the nodes.
        nodes: Vec<Name>,
    },
    /// Nodes have claimed every block of an overlay network.
    #[error(
        "no address of network '{network}' is free on this node: its blocks are full, and every other block belongs to another node"
    )]
    BlocksExhausted {
        /// The network.
        network: Name,
    },
    /// An address belongs to another node.
    #[error("address {ip} of network '{network}' cannot be used on this node: {reason}")]
    Claimed {
        /// The network.
        network: Name,
        /// The address.
        ip: IpAddr,
        /// Reason.
        reason: KeepError,
    },
    /// A node to be removed is in use.
    #[error("node '{name}' cannot be removed: {reason}")]
    NodeInUse {
        /// The node.
        name: Name,
        /// Reason, as text for users.
        reason: &'static str,
    },
    /// The deny list contains the prefix.
    #[error("{prefix} is in the deny list already")]
    Denied {
        /// The prefix.
        prefix: IpNet,
    },
    /// The settings file contains the prefix.
    #[error("{prefix} is in the deny list of the settings file")]
    DeniedBySettings {
        /// The prefix.
        prefix: IpNet,
    },
    /// The deny list does not contain the prefix.
    #[error("{prefix} is not in the deny list")]
    NotDenied {
        /// The prefix.
        prefix: IpNet,
        /// The longest prefix in the list that contains it.
        covering: Option<IpNet>,
    },
    /// A table of the map schema is full.
    #[error("no {what} is free: all {capacity} are in use")]
    Exhausted {
        /// Kind of the objects.
        what: &'static str,
        /// Number of the objects.
        capacity: u32,
    },
}
