//! Host interfaces of veth pairs.

use std::{fs::File, os::fd::AsRawFd};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::{
    RouteNetlinkMessage as Message,
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
        LinkInfo, LinkMessage,
    },
    nsid::{NsidAttribute, NsidMessage},
};

use super::{Error, Kernel, Link, link::NEW, netns, sysctl};
use crate::{model::Rate, plan::Veth};

impl Kernel {
    /// Creates a veth pair, both ends down, marked as not configured. The host interface is a port of its bridge; the
    /// container link is in its namespace and has its final name. A pair of that name whose other end is in another
    /// namespace is replaced.
    ///
    /// # Errors
    /// [`Error::ForeignLink`] if the name belongs to another kind of device, [`Error::NameTaken`] if the name of the
    /// container link is in use, [`Error::NoLink`] if there is no bridge, [`Error::NotNetns`] if there is no namespace.
    pub async fn create_veth(&self, name: &str, wanted: &Veth) -> Result<(), Error> {
        let namespace = netns::open_as(&wanted.netns, wanted.namespace)?;
        if let Some(link) = self.link(name).await? {
            link.expect_kind("veth")?;
            if self.peer_is_in(&link, &namespace).await? {
                return Ok(());
            }
            self.delete_link(name).await?;
        }
        let bridge = self.socket.existing_link(&wanted.bridge).await?;
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(wanted.inside.name.clone()),
            LinkAttribute::Address(wanted.inside.mac.0.to_vec()),
            LinkAttribute::Mtu(wanted.mtu),
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(wanted.mtu),
            LinkAttribute::Group(NEW),
            LinkAttribute::Controller(bridge.index),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        let made = self
            .socket
            .change(name, Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .await;
        match made {
            Err(error) if error.errno() == Some(libc::EEXIST) => Err(Error::NameTaken {
                name: wanted.inside.name.clone(),
                netns: wanted.netns.display().to_string(),
            }),
            Err(error) if error.errno() == Some(libc::EXFULL) => Err(Error::BridgeFull {
                bridge: wanted.bridge.clone(),
            }),
            other => other,
        }
    }

    /// Changes the host interface to this state: port of the bridge, MTU, rate, IPv6 disabled, up.
    ///
    /// # Errors
    /// [`Error::NoLink`] if there is no such pair or no such bridge, [`Error::ForeignLink`] if the name belongs to
    /// another kind of device.
    pub async fn set_veth(
        &self,
        name: &str,
        bridge: &str,
        mtu: u32,
        rate: Option<Rate>,
    ) -> Result<(), Error> {
        let link = self.socket.existing_link(name).await?;
        link.expect_kind("veth")?;
        let bridge = self.socket.existing_link(bridge).await?;
        let mut attributes = Vec::new();
        if link.mtu != mtu {
            attributes.push(LinkAttribute::Mtu(mtu));
        }
        if link.master != Some(bridge.index) {
            attributes.push(LinkAttribute::Controller(bridge.index));
        }
        if !link.up && sysctl::has_ipv6() {
            attributes.push(no_link_local());
        }
        if !attributes.is_empty() {
            self.socket
                .set_link(name, link.index, attributes, None)
                .await?;
        }
        self.set_rate(&link, rate).await?;
        if link.up {
            return Ok(());
        }
        // In the same request, the kernel would set the interface up before it disables the address.
        self.socket
            .set_link(name, link.index, Vec::new(), Some(true))
            .await
    }

    /// Whether the other end of a veth pair is in the namespace.
    pub(super) async fn peer_is_in(&self, link: &Link, namespace: &File) -> Result<bool, Error> {
        let mut message = NsidMessage::default();
        message
            .attributes
            .push(NsidAttribute::Fd(namespace.as_raw_fd().unsigned_abs()));
        let reply = self
            .socket
            .get(&link.name, Message::GetNsId(message))
            .await?;
        let Message::NewNsId(reply) = reply else {
            return Ok(false);
        };
        // A namespace that has no id in this one contains no peer of a device of this one.
        let id = reply
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NsidAttribute::Id(id) => Some(*id),
                _ => None,
            });
        Ok(id.is_some_and(|id| id >= 0) && id == link.peer_netnsid)
    }
}

fn no_link_local() -> LinkAttribute {
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
        In6AddrGenMode::None,
    )])])
}
