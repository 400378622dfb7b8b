//! Kinds of refusals, and what the user can do.

use super::{ErrorKind, RequestError};
use crate::{ipam::AddressError, model::Protocol};

impl RequestError {
    /// Kind of the refusal.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_)
            | Self::NotConnected { .. }
            | Self::NotJoined { .. }
            | Self::NotPublished { .. }
            | Self::NotDenied { .. } => ErrorKind::NotFound,
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
            | Self::VniTaken { .. }
            | Self::InUseOn { .. }
            | Self::BlocksExhausted { .. }
            | Self::Claimed { .. }
            | Self::NodeInUse { .. }
            | Self::Denied { .. }
            | Self::DeniedBySettings { .. }
            | Self::Exhausted { .. } => ErrorKind::Conflict,
            Self::Subnet { .. }
            | Self::NetworkOption { .. }
            | Self::SandboxOption { .. }
            | Self::Address { .. }
            | Self::Family { .. }
            | Self::Mac { .. }
            | Self::Interface { .. }
            | Self::AllowList { .. }
            | Self::Port { .. } => ErrorKind::Invalid,
        }
    }

    /// What the user can do, one line.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown(unknown) if unknown.kind == "endpoint" => {
                "GET /v1/endpoints lists endpoints".to_owned()
            }
            Self::Unknown(unknown) => {
                format!("'netpath {} ls' lists every {}", unknown.kind, unknown.kind)
            }
            Self::Exists { kind, name } => {
                format!("choose another name, or remove it with 'netpath {kind} rm {name}'")
            }
            Self::BuiltIn { .. } => {
                "no action is needed: an unused network uses no resources".to_owned()
            }
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
            Self::Driver { .. } => "use --driver bridge or --driver overlay".to_owned(),
            Self::Subnet { .. } => {
                "give a prefix without host bits, for example --subnet 172.30.1.0/24".to_owned()
            }
            Self::Overlap { .. } => "choose another --subnet, or omit it for a free one".to_owned(),
            Self::PoolsExhausted { .. } => {
                "give one with --subnet, or start the daemon with another --pool".to_owned()
            }
            Self::NetworkOption { .. } | Self::SandboxOption { .. } => "omit the option".to_owned(),
            Self::Adopted { owner, .. } => {
                format!("use --network container:{owner}, or remove sandbox '{owner}' first")
            }
            Self::Address { .. } | Self::Family { .. } => {
                "choose another address, or omit --ip".to_owned()
            }
            Self::AddressesExhausted { .. } => {
                "remove sandboxes, or create a network with a larger --subnet".to_owned()
            }
            Self::Mac { .. } => "choose another address, or omit --mac".to_owned(),
            Self::Connected { .. } => "no action is needed".to_owned(),
            Self::NotConnected { sandbox, .. } => {
                format!("'netpath sandbox inspect {sandbox}' shows its networks")
            }
            Self::Mode { .. } => "create the sandbox with --network NETWORK instead".to_owned(),
            Self::AllowList { .. } => "combine sources into larger prefixes".to_owned(),
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
                format!("withdraw them first with 'netpath port unpublish {sandbox} SPEC'")
            }
            Self::Denied { prefix } => {
                format!("to change its time, remove it first with 'netpath deny rm {prefix}'")
            }
            Self::DeniedBySettings { .. } => {
                "change section [deny] of the settings file, and restart the daemon".to_owned()
            }
            Self::NotDenied {
                covering: Some(covering),
                ..
            } => format!("{covering}, which is in the list, contains it"),
            Self::NotDenied { covering: None, .. } => {
                "'netpath deny ls' lists every prefix".to_owned()
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
                    "enable it with 'sysctl -w net.{family}.conf.{bridge}.forwarding=1', or use --internal"
                )
            }
            Self::Interface { .. } => "choose another name".to_owned(),
            Self::Joined { endpoint, .. } => {
                format!("disconnect it first with POST /v1/endpoints/{endpoint}/leave")
            }
            Self::NotJoined { .. } => "no action is needed".to_owned(),
            Self::VniTaken { .. } => "choose another --vni, or omit it for a free one".to_owned(),
            Self::InUseOn { .. } => {
                "remove or disconnect the sandboxes there, or remove a node that no longer exists with 'netpath node rm'"
                    .to_owned()
            }
            Self::BlocksExhausted { .. } => {
                "remove sandboxes, remove nodes that no longer exist with 'netpath node rm', or create a network with a \
                 larger --subnet"
                    .to_owned()
            }
            Self::Claimed { .. } => "choose another address, or omit --ip".to_owned(),
            Self::NodeInUse { .. } => "stop its daemon first, or use --force".to_owned(),
            Self::HasEndpoint { endpoint, .. } => {
                format!("remove it first with DELETE /v1/endpoints/{endpoint}")
            }
        }
    }
}
