//! Addresses of devices.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
};

use super::{Error, Kernel, socket::Socket};

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the device.
    pub index: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// Valid beyond the link: neither link-local nor loopback.
    pub global: bool,
    /// Duplicate address detection is in progress; the address cannot be used yet.
    pub tentative: bool,
    /// Duplicate address detection has found another owner; the address cannot be used.
    pub duplicate: bool,
    /// Not to be used for new flows (RFC 4862 §5.5.4).
    pub deprecated: bool,
    /// IPv4: not the first address of its subnet. IPv6: temporary (RFC 8981).
    pub secondary: bool,
}

impl Address {
    /// Whether it may be the source of new flows.
    pub fn usable(&self) -> bool {
        self.global && !self.tentative && !self.duplicate && !self.deprecated
    }
}

impl Kernel {
    /// Every address of the namespace, of both families; its cost grows with their number.
    pub async fn addresses(&self) -> Result<Vec<Address>, Error> {
        self.socket.addresses(0).await
    }

    /// The addresses of one device, of both families; empty if there is no such device.
    pub async fn addresses_of(&self, index: u32) -> Result<Vec<Address>, Error> {
        self.socket.addresses(index).await
    }
}

impl Socket {
    /// `index` 0 is every device.
    pub(super) async fn addresses(&self, index: u32) -> Result<Vec<Address>, Error> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        let object = match index {
            0 => "all devices".to_owned(),
            _ => format!("device {index}"),
        };
        match self.dump(&object, Message::GetAddress(message)).await {
            Ok(replies) => Ok(replies.iter().filter_map(parse).collect()),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Sets exactly these global addresses on a device, without duplicate address detection.
    pub(super) async fn set_addresses(
        &self,
        object: &str,
        index: u32,
        wanted: &BTreeSet<IpNet>,
    ) -> Result<(), Error> {
        let found = self.addresses(index).await?;
        let mut kept = BTreeSet::new();
        let mut removed = false;
        for address in found.iter().filter(|address| address.global) {
            if wanted.contains(&address.net) && !address.duplicate {
                kept.insert(address.net);
            } else {
                self.remove_address(object, index, address.net).await?;
                removed = true;
            }
        }
        // Removing the first IPv4 address of a subnet may remove the others of that subnet.
        for net in wanted.iter().filter(|net| removed || !kept.contains(*net)) {
            self.add_address(object, index, *net).await?;
        }
        Ok(())
    }

    /// Adds an address to a device without duplicate address detection; succeeds if it has the address.
    pub(super) async fn add_address(
        &self,
        object: &str,
        index: u32,
        net: IpNet,
    ) -> Result<(), Error> {
        self.change(
            &format!("{net} on {object}"),
            Message::NewAddress(message(index, net)),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
        .await
    }

    async fn remove_address(&self, object: &str, index: u32, net: IpNet) -> Result<(), Error> {
        let request = Message::DelAddress(message(index, net));
        match self.change(&format!("{net} on {object}"), request, 0).await {
            Err(error) if error.errno() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            other => other,
        }
    }
}

/// The global addresses among `addresses`.
pub(super) fn global_nets(addresses: &[Address]) -> BTreeSet<IpNet> {
    addresses
        .iter()
        .filter(|address| address.global && !address.duplicate)
        .map(|address| address.net)
        .collect()
}

fn message(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message
        .attributes
        .push(AddressAttribute::Address(net.addr()));
    match net {
        IpNet::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            if v4.prefix_len() < 31 {
                message
                    .attributes
                    .push(AddressAttribute::Broadcast(v4.broadcast()));
            }
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}

fn parse(message: &Message) -> Option<Address> {
    let Message::NewAddress(message) = message else {
        return None;
    };
    let mut flags = u32::from(message.header.flags.bits());
    let mut address: Option<IpAddr> = None;
    let mut local: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Flags(all) => flags = all.bits(),
            _ => {}
        }
    }
    // On a point-to-point device, IFA_ADDRESS is the address of the peer.
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    let flags = AddressFlags::from_bits_retain(flags);
    Some(Address {
        index: message.header.index,
        net,
        global: matches!(
            message.header.scope,
            AddressScope::Universe | AddressScope::Site
        ),
        tentative: flags.contains(AddressFlags::Tentative)
            && !flags.contains(AddressFlags::Optimistic),
        duplicate: flags.contains(AddressFlags::Dadfailed),
        deprecated: flags.contains(AddressFlags::Deprecated),
        secondary: flags.contains(AddressFlags::Secondary),
    })
}
