//! Operations as text, one line each.

use std::fmt;

use super::{
    Operation, Phase,
    entries::{AllowEntry, PortKey},
};

/// Items of a list that are shown.
const SHOWN: usize = 3;

impl Operation {
    /// Phase of the operation.
    pub fn phase(&self) -> Phase {
        match self {
            Self::RemovePorts(_)
            | Self::RemoveAllow(_)
            | Self::RemoveAddresses(_)
            | Self::RemoveEndpoint { .. }
            | Self::Detach(_)
            | Self::DeleteVeth { .. }
            | Self::DeleteNamespace(_)
            | Self::RemoveSubnet(_)
            | Self::RemoveNetwork { .. }
            | Self::DeleteBridge { .. }
            | Self::RemoveUplink { .. } => Phase::Remove,
            Self::PutUplink { .. }
            | Self::Attach(_)
            | Self::PinMap { .. }
            | Self::AttachSocket { .. }
            | Self::PutSubnet { .. }
            | Self::SetBridge { .. }
            | Self::PutNetwork { .. }
            | Self::CreateNamespace(_)
            | Self::CreateVeth { .. }
            | Self::SetVeth { .. }
            | Self::SetInside { .. }
            | Self::PutEndpoint { .. }
            | Self::PutAddresses(_)
            | Self::PutAllow(_)
            | Self::PutPorts(_) => Phase::Make,
        }
    }
}

/// One line, for logs and reports.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemovePorts(keys) => write!(f, "withdraw {}", List("port", keys.iter())),
            Self::RemoveAllow(entries) => {
                write!(f, "disallow {}", List("source", entries.iter()))
            }
            Self::RemoveAddresses(ips) => write!(f, "remove {}", List("address", ips.iter())),
            Self::RemoveEndpoint { slot } => write!(f, "clear endpoint slot {slot}"),
            Self::Detach(at) => write!(f, "detach {} from {}", at.hook, at.interface),
            Self::DeleteVeth { name } => write!(f, "delete veth {name}"),
            Self::DeleteNamespace(path) => write!(f, "delete namespace {}", path.display()),
            Self::RemoveSubnet(prefix) => write!(f, "remove subnet {prefix}"),
            Self::RemoveNetwork { index } => write!(f, "remove network {index} from the maps"),
            Self::DeleteBridge { name } => write!(f, "delete bridge {name}"),
            Self::RemoveUplink { name } => write!(f, "remove uplink {name} from the maps"),
            Self::PutUplink { name, uplink } => {
                write!(f, "add uplink {name} with MTU {}", uplink.mtu)
            }
            Self::Attach(at) => write!(f, "attach {} to {}", at.hook, at.interface),
            Self::PinMap { map } => write!(f, "pin map {map} again"),
            Self::AttachSocket { program } => write!(f, "attach {program} to the cgroup"),
            Self::PutSubnet { prefix, entry } => {
                write!(f, "add subnet {prefix} of network {}", entry.network)
            }
            Self::SetBridge { name, bridge } => write!(
                f,
                "set bridge {name} up with MTU {} and {}",
                bridge.mtu,
                List("address", bridge.addresses.iter())
            ),
            Self::PutNetwork { index, entry } => {
                write!(f, "add network '{}' with index {index}", entry.name)
            }
            Self::CreateNamespace(namespace) => {
                write!(f, "create namespace {}", namespace.path.display())
            }
            Self::CreateVeth { name, veth } => {
                write!(f, "create veth {name} into {}", veth.netns.display())
            }
            Self::SetVeth { name, bridge, mtu } => {
                write!(f, "set veth {name} up on bridge {bridge} with MTU {mtu}")
            }
            Self::SetInside { name, veth } => write!(
                f,
                "set container interface {} of {name} up with {} and {}",
                veth.inside.name,
                List("address", veth.inside.addresses.iter()),
                List("gateway", veth.inside.gateways.iter())
            ),
            Self::PutEndpoint { slot, entry } => write!(
                f,
                "fill endpoint slot {slot} with {} of sandbox '{}', generation {}",
                entry.host_interface, entry.sandbox, entry.generation
            ),
            Self::PutAddresses(entries) => {
                let ips = entries.iter().map(|(ip, _)| ip);
                write!(f, "add {}", List("address", ips))
            }
            Self::PutAllow(entries) => {
                write!(f, "allow {}", List("source", entries.iter()))
            }
            Self::PutPorts(entries) => {
                let keys = entries.iter().map(|(key, _)| key);
                write!(f, "publish {}", List("port", keys))
            }
        }
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.host_ip {
            write!(
                f,
                "{}:",
                if ip.is_ipv6() {
                    format!("[{ip}]")
                } else {
                    ip.to_string()
                }
            )?;
        }
        let span = crate::model::Span((self.first, self.last));
        write!(f, "{span}/{}", self.protocol)
    }
}

impl fmt::Display for AllowEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (list {})", self.prefix, self.list)
    }
}

/// `1 port 80/tcp`, `5 ports 80/tcp, 81/tcp, 82/tcp, …`
struct List<I>(&'static str, I);

impl<I: ExactSizeIterator<Item = T> + Clone, T: fmt::Display> fmt::Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(noun, items) = self;
        let count = items.len();
        let plural = match (count, noun.ends_with('s')) {
            (1, _) => "",
            (_, true) => "es",
            (_, false) => "s",
        };
        write!(f, "{count} {noun}{plural}")?;
        for (position, item) in items.clone().take(SHOWN).enumerate() {
            write!(f, "{} {item}", if position == 0 { "" } else { "," })?;
        }
        f.write_str(if count > SHOWN { ", …" } else { "" })
    }
}
