//! The interfaces of the node: devices where the stack receives IP packets from outside of netpath.
//!
//! The kernel's list of devices decides, not a list of netpath: every device except netpath's own, the loopback device and
//! the ports of another device, whose master receives their packets instead. Routes and addresses do not matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Link, is_own_device};
use crate::plan::LinkHeader;

/// A device of the node, and how netpath uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRole {
    /// Interface index.
    pub index: u32,
    /// Name of the device.
    pub name: String,
    /// How netpath uses it.
    pub role: Role,
}

/// How netpath uses a device of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// An interface that serves published ports, and through which sandboxes send.
    Uplink(LinkHeader),
    /// An interface that the setting `uplink` excludes. Its programs only drop packets with private addresses.
    Guarded(LinkHeader),
    /// A port of the device with this name, which receives its packets.
    Port(String),
    /// A device of netpath, or an adopted one.
    Own,
    /// The loopback device.
    Loopback,
    /// A device where the stack receives no packets.
    NoReceiver(&'static str),
    /// An interface whose packets the programs cannot parse.
    Unsupported(&'static str),
}

impl Role {
    /// Name in the output of `netpath status`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Uplink(_) => "uplink",
            Self::Guarded(_) => "guarded",
            Self::Port(_) => "port",
            Self::Own => "own",
            Self::Loopback => "loopback",
            Self::NoReceiver(_) => "skipped",
            Self::Unsupported(_) => "unsupported",
        }
    }

    /// The link header, if programs are attached to the device as to an interface of the node.
    pub const fn header(&self) -> Option<LinkHeader> {
        match self {
            Self::Uplink(header) | Self::Guarded(header) => Some(*header),
            _ => None,
        }
    }

    /// Whether the device serves published ports.
    pub const fn is_uplink(&self) -> bool {
        matches!(self, Self::Uplink(_))
    }
}

/// The reason for the role.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uplink(LinkHeader::Ethernet) => {
                f.write_str("serves published ports and external access of sandboxes")
            }
            Self::Uplink(LinkHeader::None) => f.write_str(
                "serves published ports and external access of sandboxes; has no Ethernet header",
            ),
            Self::Guarded(_) => f.write_str(
                "not named by --uplink: serves no published port, and private addresses neither enter nor leave",
            ),
            Self::Port(master) => write!(f, "a port of {master}, which receives its packets"),
            Self::Own => f.write_str("belongs to a network or sandbox of netpath"),
            Self::Loopback => f.write_str("published ports are served to sockets of the host"),
            Self::NoReceiver(why) | Self::Unsupported(why) => f.write_str(why),
        }
    }
}

/// What the roles depend on besides the devices.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Names of the interfaces that the setting `uplink` permits; every interface if empty.
    pub uplinks: &'a [String],
    /// Names of adopted devices.
    pub adopted: &'a BTreeSet<String>,
}

/// The role of every device, in the order of `links`.
pub fn roles(links: &[Link], choice: Choice<'_>) -> Vec<DeviceRole> {
    let by_index: BTreeMap<u32, &Link> = links.iter().map(|link| (link.index, link)).collect();
    links
        .iter()
        .map(|link| DeviceRole {
            index: link.index,
            name: link.name.clone(),
            role: role(link, |index| by_index.get(&index).copied(), choice),
        })
        .collect()
}

/// The role of one device. `find` returns the device with an index.
pub(super) fn role<'a>(
    link: &Link,
    find: impl FnOnce(u32) -> Option<&'a Link>,
    choice: Choice<'_>,
) -> Role {
    if link.loopback {
        return Role::Loopback;
    }
    if is_own(link, choice.adopted) {
        return Role::Own;
    }
    if let Some(index) = link.master {
        // The stack receives the packets of a member of a VRF on the member itself.
        match find(index) {
            Some(master) if master.kind.as_deref() == Some("vrf") => {}
            Some(master) => return Role::Port(master.name.clone()),
            None => return Role::Port(format!("device {index}")),
        }
    }
    if let Some(why) = no_receiver(link) {
        return Role::NoReceiver(why);
    }
    match header(link) {
        Err(why) => Role::Unsupported(why),
        Ok(header) if choice.uplinks.is_empty() || choice.uplinks.contains(&link.name) => {
            Role::Uplink(header)
        }
        Ok(header) => Role::Guarded(header),
    }
}

fn is_own(link: &Link, adopted: &BTreeSet<String>) -> bool {
    let name = link.name.as_str();
    is_own_device(name) || adopted.contains(name)
}

/// Why the stack receives no packets on a device.
fn no_receiver(link: &Link) -> Option<&'static str> {
    match link.kind.as_deref()? {
        "vrf" => Some("a VRF: the interfaces in it receive its packets"),
        // Packets pass it on their way from or to another device, where they are handled.
        "ifb" => Some("a device for traffic control: it passes packets of other devices"),
        "nlmon" | "vcan" | "vxcan" | "can" => Some("does not carry IP"),
        _ => None,
    }
}

/// What precedes the network header in the packets that programs see.
fn header(link: &Link) -> Result<LinkHeader, &'static str> {
    match link.layer {
        LinkLayer::Ethernet => Ok(LinkHeader::Ethernet),
        // Without a remote address, the device itself writes the outer headers before the programs see the packet.
        LinkLayer::Gre if link.has_no_remote => Err(
            "a GRE tunnel without a remote address: packets are neither translated nor filtered",
        ),
        LinkLayer::Gre | LinkLayer::None => Ok(LinkHeader::None),
        LinkLayer::Other => {
            Err("its link layer is not supported: packets are neither translated nor filtered")
        }
    }
}

/// The link layer of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// Ethernet.
    Ethernet,
    /// IP packets without a link header: tun, WireGuard, IP in IP, PPP.
    None,
    /// IP packets without a link header, if the tunnel has a remote address.
    Gre,
    /// Any other.
    Other,
}

impl LinkLayer {
    /// The link layer of an `ARPHRD_*` number (linux/if_arp.h). Those without a header are the ones for which the kernel
    /// redirects packets without a MAC header (`dev_is_mac_header_xmit`).
    pub(super) const fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Ethernet,
            // PPP, RAWIP, TUNNEL, TUNNEL6, SIT, NONE, VOID.
            512 | 519 | 768 | 769 | 776 | 0xfffe | 0xffff => Self::None,
            778 | 823 => Self::Gre,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: Option<&str>) -> Link {
        Link {
            kind: kind.map(str::to_owned),
            ..Link::example(index, name)
        }
    }

    fn roles_of(links: &[Link], uplinks: &[&str], adopted: &[&str]) -> Vec<(String, Role)> {
        let uplinks: Vec<_> = uplinks.iter().map(|name| (*name).to_owned()).collect();
        let adopted = adopted.iter().map(|name| (*name).to_owned()).collect();
        let choice = Choice {
            uplinks: &uplinks,
            adopted: &adopted,
        };
        let found = roles(links, choice).into_iter();
        found.map(|device| (device.name, device.role)).collect()
    }

    #[test]
    fn class1_interfaces_are_all_devices_without_master_except_netpaths() {
        let mut port = link(4, "vnet0", Some("tun"));
        port.master = Some(3);
        let mut member = link(6, "eth1", None);
        member.master = Some(5);
        let mut ovs_port = link(11, "tap0", Some("tun"));
        ovs_port.master = Some(10);
        let links = [
            link(1, "lo", None),
            link(2, "eth0", None),
            link(3, "virbr0", Some("bridge")),
            port,
            link(5, "vrf-blue", Some("vrf")),
            member,
            link(7, "npb-1", Some("bridge")),
            link(8, "npv-1", Some("veth")),
            link(9, "docker0", Some("bridge")),
            link(10, "ovs-system", Some("openvswitch")),
            ovs_port,
            link(12, "ifb0", Some("ifb")),
            link(13, "veth7", Some("veth")),
        ];
        let uplink = || Role::Uplink(LinkHeader::Ethernet);
        let wanted = [
            ("lo", Role::Loopback),
            ("eth0", uplink()),
            ("virbr0", uplink()),
            ("vnet0", Role::Port("virbr0".to_owned())),
            (
                "vrf-blue",
                Role::NoReceiver("a VRF: the interfaces in it receive its packets"),
            ),
            ("eth1", uplink()),
            ("npb-1", Role::Own),
            ("npv-1", Role::Own),
            ("docker0", Role::Own),
            ("ovs-system", uplink()),
            ("tap0", Role::Port("ovs-system".to_owned())),
            (
                "ifb0",
                Role::NoReceiver(
                    "a device for traffic control: it passes packets of other devices",
                ),
            ),
            ("veth7", uplink()),
        ];
        let wanted = wanted.map(|(name, role)| (name.to_owned(), role));
        assert_eq!(roles_of(&links, &[], &["docker0"]), wanted);
    }

    #[test]
    fn class1_setting_restricts_service_and_not_the_guards() {
        let links = [link(2, "eth0", None), link(3, "eth1", None)];
        let wanted = [
            ("eth0".to_owned(), Role::Guarded(LinkHeader::Ethernet)),
            ("eth1".to_owned(), Role::Uplink(LinkHeader::Ethernet)),
        ];
        assert_eq!(roles_of(&links, &["eth1"], &[]), wanted);
    }

    #[test]
    fn class1_link_layer_decides_about_the_header() {
        for (number, layer) in [
            (1, LinkLayer::Ethernet),
            (0xfffe, LinkLayer::None),
            (768, LinkLayer::None),
            (778, LinkLayer::Gre),
            (32, LinkLayer::Other),
        ] {
            assert_eq!(LinkLayer::from_number(number), layer, "{number}");
        }
        let mut gre = link(2, "gre1", Some("gre"));
        gre.layer = LinkLayer::Gre;
        assert_eq!(header(&gre), Ok(LinkHeader::None));
        gre.has_no_remote = true;
        assert!(header(&gre).is_err());
    }
}
