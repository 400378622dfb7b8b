//! Network devices.

use netpath_common::addr::MacAddr;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage},
};

use super::{Error, Kernel, interfaces::LinkLayer, socket::Socket};

/// Longest name of a device, in bytes: `IFNAMSIZ` without the final zero.
const NAME_MAX: usize = 15;

/// Group (`ip link set DEV group N`) of devices that [`Kernel::delete_links`] is about to delete; "npdl".
const DOOMED: u32 = 0x6e70_646c;

/// Group of the host interface of a veth pair whose container link is not configured yet; "npnw". The group is lost with
/// the pair, so a new pair is always configured, and an existing one never again.
pub(super) const NEW: u32 = 0x6e70_6e77;

/// Group of other devices: the default group of the kernel.
pub(super) const CONFIGURED: u32 = 0;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index, unique in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Kind of a virtual device: `bridge`, `veth`, …; `None` for hardware and the loopback device.
    pub kind: Option<String>,
    /// MAC address, if it has one of six bytes.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administrative state; independent of the carrier.
    pub up: bool,
    /// Index of the bridge or bond it belongs to.
    pub master: Option<u32>,
    /// Index of the lower device, or of the peer of a veth, in the namespace of [`Self::peer_netnsid`].
    pub peer: Option<u32>,
    /// The namespace of [`Self::peer`] as numbered in this one; `None` if it is this one.
    pub peer_netnsid: Option<i32>,
    /// Its link layer.
    pub layer: LinkLayer,
    /// Whether it is a tunnel without a remote address: its broadcast address, which is the remote address, is zero.
    pub has_no_remote: bool,
    /// Whether it is the loopback device.
    pub loopback: bool,
    /// Kind of its queueing discipline.
    pub qdisc: Option<String>,
    /// Whether it is the host interface of a veth pair whose container link is not configured yet.
    pub unconfigured: bool,
}

impl Link {
    /// An Ethernet device of tests; `lo` is the loopback device.
    #[cfg(test)]
    pub(super) fn example(index: u32, name: &str) -> Self {
        Self {
            index,
            name: name.to_owned(),
            kind: None,
            mac: None,
            mtu: 1500,
            up: true,
            master: None,
            peer: None,
            peer_netnsid: None,
            layer: LinkLayer::Ethernet,
            has_no_remote: false,
            loopback: name == "lo",
            qdisc: None,
            unconfigured: false,
        }
    }

    /// Fails with [`Error::ForeignLink`] unless the device is of this kind.
    pub fn expect_kind(&self, expected: &'static str) -> Result<(), Error> {
        match &self.kind {
            Some(kind) if kind == expected => Ok(()),
            other => Err(Error::ForeignLink {
                name: self.name.clone(),
                found: other.clone().unwrap_or_else(|| "hardware".to_owned()),
                expected,
            }),
        }
    }
}

impl Kernel {
    /// Every device of the namespace; its cost grows with their number.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        self.socket.links().await
    }

    /// The device with this name, `None` if there is none.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        self.socket.link(name).await
    }

    /// The device with this index, `None` if there is none.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, Error> {
        self.socket.link_by_index(index).await
    }

    /// Deletes a virtual device; succeeds if it does not exist. Deleting one interface of a veth pair deletes both.
    pub async fn delete_link(&self, name: &str) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let deleted = self.socket.change(name, Message::DelLink(message), 0).await;
        ok_if_absent(deleted)
    }

    /// Deletes those of the virtual devices that exist. One request deletes all of them, because the kernel waits about
    /// 20 ms for all CPUs in each request.
    pub async fn delete_links(&self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let mut message = LinkMessage::default();
            message.attributes = vec![
                LinkAttribute::IfName(name.clone()),
                LinkAttribute::Group(DOOMED),
            ];
            let marked = self.socket.change(name, Message::SetLink(message), 0).await;
            ok_if_absent(marked)?;
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(DOOMED));
        let object = format!("{} devices", names.len());
        let deleted = self
            .socket
            .change(&object, Message::DelLink(message), 0)
            .await;
        ok_if_absent(deleted)
    }
}

impl Socket {
    pub(super) async fn links(&self) -> Result<Vec<Link>, Error> {
        let replies = self
            .dump(
                "all devices",
                Message::GetLink(query(LinkMessage::default())),
            )
            .await?;
        Ok(replies.iter().filter_map(parse).collect())
    }

    pub(super) async fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Ok(None);
        }
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.find_link(name, message).await
    }

    /// As [`Self::link`], with an error if there is none.
    pub(super) async fn existing_link(&self, name: &str) -> Result<Link, Error> {
        self.link(name).await?.ok_or_else(|| Error::NoLink {
            name: name.to_owned(),
        })
    }

    pub(super) async fn link_by_index(&self, index: u32) -> Result<Option<Link>, Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.find_link(&format!("device {index}"), message).await
    }

    /// Changes attributes of a device, and its administrative state if `up` is given, in one request.
    pub(super) async fn set_link(
        &self,
        object: &str,
        index: u32,
        attributes: Vec<LinkAttribute>,
        up: Option<bool>,
    ) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        if let Some(up) = up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags.set(LinkFlags::Up, up);
        }
        message.attributes = attributes;
        self.change(object, Message::SetLink(message), 0).await
    }

    async fn find_link(&self, object: &str, message: LinkMessage) -> Result<Option<Link>, Error> {
        match self.get(object, Message::GetLink(query(message))).await {
            Ok(reply) => Ok(parse(&reply)),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn ok_if_absent(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

fn query(mut message: LinkMessage) -> LinkMessage {
    message.header.interface_family = AddressFamily::Unspec;
    message
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

fn parse(message: &Message) -> Option<Link> {
    let Message::NewLink(message) = message else {
        return None;
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        peer: None,
        peer_netnsid: None,
        layer: LinkLayer::from_number(message.header.link_layer_type.into()),
        has_no_remote: false,
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        qdisc: None,
        unconfigured: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.as_slice().try_into().ok().map(MacAddr);
            }
            LinkAttribute::Broadcast(bytes) => {
                link.has_no_remote = bytes.iter().all(|byte| *byte == 0);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::Qdisc(kind) => link.qdisc = Some(kind.clone()),
            LinkAttribute::Group(group) => link.unconfigured = *group == NEW,
            LinkAttribute::LinkNetNsId(id) => link.peer_netnsid = Some(*id),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

/// Index of a device of the calling thread's namespace; `None` if there is none of this name.
pub fn link_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}
