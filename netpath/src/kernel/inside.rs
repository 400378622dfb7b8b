//! Container links: the ends of veth pairs in sandboxes.

use std::{fs::File, path::Path};

use rtnetlink::packet_route::link::LinkAttribute;

use super::{
    Error, Kernel, Link, address::global_nets, netns, route::main_gateways, socket::Socket, sysctl,
};
use crate::plan::{ObservedInside, Veth};

/// The loopback device has this index in every namespace.
const LOOPBACK: u32 = 1;

impl Kernel {
    /// Changes the container link to this state: name, MAC address, MTU, exactly these global addresses and
    /// default routes, up. Also sets the loopback device up.
    ///
    /// # Errors
    /// [`Error::NoLink`] if there is no such pair, [`Error::PeerElsewhere`] if its other end is in another namespace,
    /// [`Error::NameTaken`] if another device in the namespace has the name.
    pub async fn set_inside(&self, name: &str, wanted: &Veth) -> Result<(), Error> {
        let namespace = netns::open(&wanted.netns)?;
        let host = self.socket.existing_link(name).await?;
        host.expect_kind("veth")?;
        let socket = open_socket(&namespace, &wanted.netns).await?;
        let elsewhere = || Error::PeerElsewhere {
            name: name.to_owned(),
            netns: wanted.netns.display().to_string(),
        };
        let peer = self
            .peer(&socket, &host, &namespace)
            .await?
            .ok_or_else(elsewhere)?;

        let inside = &wanted.inside;
        let object = format!("{} in {}", inside.name, wanted.netns.display());
        rename(&socket, &object, &peer, wanted).await?;
        set_sysctls(&namespace, wanted).await?;
        let mut attributes = Vec::new();
        if peer.mac != Some(inside.mac) {
            attributes.push(LinkAttribute::Address(inside.mac.0.to_vec()));
        }
        if peer.mtu != wanted.mtu {
            attributes.push(LinkAttribute::Mtu(wanted.mtu));
        }
        if !attributes.is_empty() || !peer.up {
            socket
                .set_link(&object, peer.index, attributes, Some(true))
                .await?;
        }
        socket
            .set_link("lo", LOOPBACK, Vec::new(), Some(true))
            .await?;
        socket
            .set_addresses(&object, peer.index, &inside.addresses)
            .await?;
        socket
            .set_gateways(&object, peer.index, &inside.addresses, &inside.gateways)
            .await
    }

    /// The state of the container link whose host interface has this index; `None` if the pair or the namespace does
    /// not exist, or the link is not in that namespace.
    pub async fn observe_inside(
        &self,
        path: &Path,
        host_index: u32,
    ) -> Result<Option<ObservedInside>, Error> {
        let namespace = match netns::open(path) {
            Err(Error::NotNetns { .. }) => return Ok(None),
            other => other?,
        };
        let Some(host) = self.link_by_index(host_index).await? else {
            return Ok(None);
        };
        let socket = open_socket(&namespace, path).await?;
        let Some(peer) = self.peer(&socket, &host, &namespace).await? else {
            return Ok(None);
        };
        let addresses = socket.addresses(peer.index).await?;
        let routes = socket.default_routes(Some(peer.index)).await?;
        let Some(mac) = peer.mac else {
            return Ok(None);
        };
        Ok(Some(ObservedInside {
            name: peer.name,
            mac,
            up: peer.up,
            addresses: global_nets(&addresses),
            gateways: main_gateways(routes).into_iter().flatten().collect(),
        }))
    }

    async fn peer(
        &self,
        socket: &Socket,
        host: &Link,
        namespace: &File,
    ) -> Result<Option<Link>, Error> {
        let Some(index) = host.peer else {
            return Ok(None);
        };
        if !self.peer_is_in(host, namespace).await? {
            return Ok(None);
        }
        socket.link_by_index(index).await
    }
}

async fn open_socket(namespace: &File, path: &Path) -> Result<Socket, Error> {
    let runtime = tokio::runtime::Handle::current();
    let object = path.display().to_string();
    netns::run_in(namespace, &object, move || {
        let _guard = runtime.enter();
        Socket::open()
    })
    .await?
}

async fn rename(socket: &Socket, object: &str, peer: &Link, wanted: &Veth) -> Result<(), Error> {
    let name = &wanted.inside.name;
    if peer.name == *name {
        return Ok(());
    }
    // Kernels before 6.2 rename a device only while it is down.
    let down = peer.up.then_some(false);
    let attributes = vec![LinkAttribute::IfName(name.clone())];
    if down.is_some() {
        socket
            .set_link(object, peer.index, Vec::new(), down)
            .await?;
    }
    let renamed = socket.set_link(object, peer.index, attributes, None).await;
    if down.is_some() {
        socket
            .set_link(object, peer.index, Vec::new(), Some(true))
            .await?;
    }
    match renamed {
        Err(error) if error.errno() == Some(libc::EEXIST) => Err(Error::NameTaken {
            name: name.clone(),
            netns: wanted.netns.display().to_string(),
        }),
        other => other,
    }
}

async fn set_sysctls(namespace: &File, wanted: &Veth) -> Result<(), Error> {
    let name = wanted.inside.name.clone();
    let v6 = wanted
        .inside
        .addresses
        .iter()
        .any(|net| net.addr().is_ipv6());
    let object = wanted.netns.display().to_string();
    netns::run_in(namespace, &object, move || {
        // A reply to a client outside may leave by this link with the address of another network. The ARP request for the
        // gateway must have this link's address then.
        sysctl::ensure(&format!("net/ipv4/conf/{name}/arp_announce"), "2")?;
        if v6 || sysctl::has_ipv6() {
            sysctl::ensure(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
            sysctl::ensure(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
        }
        if v6 {
            sysctl::ensure(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
        }
        Ok(())
    })
    .await?
}
