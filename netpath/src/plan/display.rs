//! Operations as text, one line each.

use std::fmt;

use super::{Operation, Phase};

/// Items of a list that are shown.
const SHOWN: usize = 3;

impl Operation {
    /// Phase of the operation.
    pub fn phase(&self) -> Phase {
        match self {
            Self::MoveGateway { .. }
            | Self::Remove(_)
            | Self::Detach(_)
            | Self::DeleteVeth { .. }
            | Self::DeleteNamespace(_)
            | Self::DeleteBridge { .. } => Phase::Remove,
            Self::Attach(_)
            | Self::PinMap { .. }
            | Self::AttachSocket { .. }
            | Self::SetBridge { .. }
            | Self::CreateNamespace(_)
            | Self::CreateVeth { .. }
            | Self::SetVeth { .. }
            | Self::SetInside { .. }
            | Self::RestoreInside { .. }
            | Self::SetInsideMtu { .. }
            | Self::Put(_) => Phase::Make,
        }
    }
}

/// One line, for logs and reports.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MoveGateway { name, gateway, .. } => {
                write!(f, "move the default route to {gateway} over {name}")
            }
            Self::Remove(removal) => removal.fmt(f),
            Self::Detach(at) => write!(f, "detach {} from {}", at.hook, at.interface),
            Self::DeleteVeth { name } => write!(f, "delete veth {name}"),
            Self::DeleteNamespace(path) => write!(f, "delete namespace {}", path.display()),
            Self::DeleteBridge { name } => write!(f, "delete bridge {name}"),
            Self::Attach(at) => write!(f, "attach {} to {}", at.hook, at.interface),
            Self::PinMap { map } => write!(f, "pin map {map} again"),
            Self::AttachSocket { program } => write!(f, "attach {program} to the cgroup"),
            Self::SetBridge { name, bridge } => write!(
                f,
                "set bridge {name} up with MTU {} and {}",
                bridge.mtu,
                List("address", bridge.addresses.iter())
            ),
            Self::CreateNamespace(namespace) => {
                write!(f, "create namespace {}", namespace.path.display())
            }
            Self::CreateVeth { name, veth } => {
                write!(f, "create veth {name} into {}", veth.netns.display())
            }
            Self::SetVeth {
                name,
                bridge,
                mtu,
                rate,
            } => {
                write!(f, "set veth {name} up on bridge {bridge} with MTU {mtu}")?;
                rate.map_or(Ok(()), |rate| write!(f, " and rate {rate}"))
            }
            Self::SetInside { name, veth, .. } => write!(
                f,
                "set container link {} of {name} up with {} and {}",
                veth.inside.name,
                List("address", veth.inside.addresses.iter()),
                List("gateway", veth.inside.gateways.iter())
            ),
            Self::RestoreInside {
                name,
                addresses,
                gateways,
                ..
            } => write!(
                f,
                "restore {} and {} in the sandbox of {name}",
                List("address", addresses.iter()),
                List("gateway", gateways.iter())
            ),
            Self::SetInsideMtu { name, veth } => {
                let mtu = veth.mtu;
                write!(f, "set MTU {mtu} of the container link of {name}")
            }
            Self::Put(addition) => addition.fmt(f),
        }
    }
}

/// Noun in the singular, and items: `port 80/tcp`, `5 ports 80/tcp, 81/tcp, 82/tcp, …`, `0 gateways`.
pub(super) struct List<I>(pub(super) &'static str, pub(super) I);

impl<I: ExactSizeIterator<Item = T> + Clone, T: fmt::Display> fmt::Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(noun, items) = self;
        let count = items.len();
        match (count, noun.ends_with('s')) {
            (1, _) => f.write_str(noun)?,
            (_, true) => write!(f, "{count} {noun}es")?,
            (_, false) => write!(f, "{count} {noun}s")?,
        }
        for (position, item) in items.clone().take(SHOWN).enumerate() {
            write!(f, "{} {item}", if position == 0 { "" } else { "," })?;
        }
        f.write_str(if count > SHOWN { ", …" } else { "" })
    }
}
