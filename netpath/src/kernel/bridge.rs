//! Bridges.

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::{
    RouteNetlinkMessage as Message,
    link::{BridgeStpState, InfoBridge, InfoData, InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};

use super::{Error, Kernel, sysctl};
use crate::plan::Bridge;

impl Kernel {
    /// Creates a bridge, or changes it to this state: MAC address, MTU, exactly these global addresses, forwarding, up.
    ///
    /// # Errors
    /// [`Error::ForeignLink`] if the name belongs to another kind of device.
    pub async fn set_bridge(&self, name: &str, wanted: &Bridge) -> Result<(), Error> {
        let link = match self.link(name).await? {
            Some(link) => link,
            None => {
                self.create_bridge(name, wanted).await?;
                self.socket.existing_link(name).await?
            }
        };
        link.expect_kind("bridge")?;
        set_sysctls(
            name,
            wanted.addresses.iter().any(|net| net.addr().is_ipv6()),
        )?;
        let mut attributes = Vec::new();
        if link.mac != Some(wanted.mac) {
            attributes.push(LinkAttribute::Address(wanted.mac.0.to_vec()));
        }
        if link.mtu != wanted.mtu {
            attributes.push(LinkAttribute::Mtu(wanted.mtu));
        }
        if !attributes.is_empty() || !link.up {
            self.socket
                .set_link(name, link.index, attributes, Some(true))
                .await?;
        }
        self.socket
            .set_addresses(name, link.index, &wanted.addresses)
            .await
    }

    async fn create_bridge(&self, name: &str, wanted: &Bridge) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(wanted.mac.0.to_vec()),
            LinkAttribute::Mtu(wanted.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::StpState(
                    BridgeStpState::Disabled,
                )])),
            ]),
        ];
        self.socket
            .change(name, Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .await
    }
}

fn set_sysctls(name: &str, v6: bool) -> Result<(), Error> {
    sysctl::ensure(&format!("net/ipv4/conf/{name}/forwarding"), "1")?;
    if v6 || sysctl::has_ipv6() {
        sysctl::ensure(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
        sysctl::ensure(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
        sysctl::ensure(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
        sysctl::ensure(&format!("net/ipv6/conf/{name}/forwarding"), "1")?;
    }
    Ok(())
}
