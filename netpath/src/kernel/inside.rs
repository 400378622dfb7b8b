//! Container links: the ends of veth pairs in sandboxes.
//!
//! A container link is configured once, after the veth pair was created. Afterwards it belongs to the workload.

use std::{collections::BTreeSet, fs::File, net::IpAddr, path::Path};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use rtnetlink::packet_route::link::LinkAttribute;

use super::{
    Error, Kernel, Link,
    link::CONFIGURED,
    netns,
    route::{main_routes, own_gateways, used_route},
    socket::Socket,
    sysctl,
};
use crate::plan::{ObservedInside, Veth};

/// A container link that another program has created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerLink {
    /// Name.
    pub name: String,
    /// MAC address, if it has one of six bytes.
    pub mac: Option<MacAddr>,
    /// Whether it is up.
    pub up: bool,
    /// Its addresses, without link-local ones.
    pub addresses: Vec<IpAddr>,
}

/// A container link and a netlink socket in its namespace.
struct Inside {
    namespace: File,
    socket: Socket,
    link: Link,
    /// The link and the path of its namespace, for errors.
    object: String,
}

impl Kernel {
    /// Configures the container link of a new veth pair: sysctls, addresses, up, and default routes in the families
    /// in which the namespace has none. Marks the pair as configured.
    ///
    /// Unless `first` is set, the endpoint had a container link before: IPv6 stays disabled if the workload has disabled it
    /// in the namespace.
    ///
    /// # Errors
    /// [`Error::NoLink`] if there is no such pair, [`Error::PeerElsewhere`] if its other end is in another namespace.
    pub async fn set_inside(&self, name: &str, wanted: &Veth, first: bool) -> Result<(), Error> {
        let inside = self.existing_inside(name, wanted).await?;
        let addresses = &wanted.inside.addresses;
        let v6 = inside.set_sysctls(addresses, first).await?;
        let has_family = |ip: IpAddr| v6 || ip.is_ipv4();
        if !inside.link.up {
            inside
                .socket
                .set_link(&inside.object, inside.link.index, Vec::new(), Some(true))
                .await?;
        }
        let usable = addresses.iter().filter(|net| has_family(net.addr()));
        inside.add_addresses(usable).await?;
        let gateways = wanted.inside.gateways.iter();
        let gateways = gateways.filter(|gateway| has_family(**gateway));
        inside.add_gateways(gateways, addresses).await?;
        let index = self.socket.existing_link(name).await?.index;
        let group = vec![LinkAttribute::Group(CONFIGURED)];
        self.socket.set_link(name, index, group, None).await
    }

    /// Adds addresses to a container link, and default routes in the families in which the namespace has none.
    ///
    /// # Errors
    /// As [`Self::set_inside`].
    pub async fn restore_inside(
        &self,
        name: &str,
        wanted: &Veth,
        addresses: &BTreeSet<IpNet>,
        gateways: &BTreeSet<IpAddr>,
    ) -> Result<(), Error> {
        let inside = self.existing_inside(name, wanted).await?;
        inside.add_addresses(addresses.iter()).await?;
        inside.add_gateways(gateways.iter(), addresses).await
    }

    /// Makes a container link the one with netpath's default route of a family, unless another program has set the default
    /// route that the namespace uses.
    ///
    /// # Errors
    /// As [`Self::set_inside`].
    pub async fn move_gateway(
        &self,
        name: &str,
        wanted: &Veth,
        gateway: IpAddr,
    ) -> Result<(), Error> {
        let inside = self.existing_inside(name, wanted).await?;
        let addresses = &wanted.inside.addresses;
        inside.add_gateways([gateway].iter(), addresses).await
    }

    /// Changes the MTU of a container link to that of the pair.
    ///
    /// # Errors
    /// As [`Self::set_inside`].
    pub async fn set_inside_mtu(&self, name: &str, wanted: &Veth) -> Result<(), Error> {
        let inside = self.existing_inside(name, wanted).await?;
        let attributes = vec![LinkAttribute::Mtu(wanted.mtu)];
        inside
            .socket
            .set_link(&inside.object, inside.link.index, attributes, None)
            .await
    }

    /// The state of the container link whose host interface has this index; `None` if the pair or the namespace does
    /// not exist, or the link is not in that namespace.
    pub async fn observe_inside(
        &self,
        wanted: &Veth,
        host_index: u32,
    ) -> Result<Option<ObservedInside>, Error> {
        let path = &wanted.netns;
        let namespace = match netns::open_as(path, wanted.namespace) {
            Err(Error::NotNetns { .. } | Error::Replaced { .. }) => return Ok(None),
            other => other?,
        };
        let Some(host) = self.link_by_index(host_index).await? else {
            return Ok(None);
        };
        let Some(inside) = self.inside(namespace, path, &host).await? else {
            return Ok(None);
        };
        let link = &inside.link;
        let addresses = inside.socket.addresses(0).await?;
        let name = link.name.clone();
        let (routes, ipv6) = netns::run_in(&inside.namespace, &inside.object, move || {
            Ok::<_, Error>((main_routes()?, has_ipv6(&name)))
        })
        .await??;
        Ok(Some(ObservedInside {
            mtu: link.mtu,
            in_use: link.up && link.master.is_none(),
            ipv6,
            addresses: addresses.iter().map(|address| address.net.addr()).collect(),
            gateways: own_gateways(&routes, link.index),
            used_v4: used_route(&routes, false),
            used_v6: used_route(&routes, true),
        }))
    }

    /// The other end of the veth pair `host`; `None` if it is not in the namespace at `path`, or that is no namespace.
    ///
    /// # Errors
    /// If the namespace cannot be entered or read.
    pub async fn container_link(
        &self,
        host: &Link,
        path: &Path,
    ) -> Result<Option<ContainerLink>, Error> {
        let namespace = match netns::open(path) {
            Err(Error::NotNetns { .. }) => return Ok(None),
            other => other?,
        };
        let Some(inside) = self.inside(namespace, path, host).await? else {
            return Ok(None);
        };
        let addresses = inside.socket.addresses(inside.link.index).await?;
        Ok(Some(ContainerLink {
            name: inside.link.name,
            mac: inside.link.mac,
            up: inside.link.up,
            addresses: addresses
                .iter()
                .filter(|address| address.global)
                .map(|address| address.net.addr())
                .collect(),
        }))
    }

    async fn existing_inside(&self, name: &str, wanted: &Veth) -> Result<Inside, Error> {
        let path = &wanted.netns;
        let namespace = netns::open_as(path, wanted.namespace)?;
        let host = self.socket.existing_link(name).await?;
        host.expect_kind("veth")?;
        let inside = self.inside(namespace, path, &host).await?;
        inside.ok_or_else(|| Error::PeerElsewhere {
            name: name.to_owned(),
            netns: path.display().to_string(),
        })
    }

    async fn inside(
        &self,
        namespace: File,
        path: &Path,
        host: &Link,
    ) -> Result<Option<Inside>, Error> {
        let Some(index) = host.peer else {
            return Ok(None);
        };
        if !self.peer_is_in(host, &namespace).await? {
            return Ok(None);
        }
        let socket = open_socket(&namespace, path).await?;
        let link = socket.link_by_index(index).await?;
        Ok(link.map(|link| Inside {
            object: format!("{} in {}", link.name, path.display()),
            namespace,
            socket,
            link,
        }))
    }
}

impl Inside {
    async fn add_addresses(&self, nets: impl Iterator<Item = &IpNet>) -> Result<(), Error> {
        for net in nets {
            self.socket
                .add_address(&self.object, self.link.index, *net)
                .await?;
        }
        Ok(())
    }

    /// `addresses` are those of the link.
    async fn add_gateways(
        &self,
        gateways: impl Iterator<Item = &IpAddr>,
        addresses: &BTreeSet<IpNet>,
    ) -> Result<(), Error> {
        let routes = netns::run_in(&self.namespace, &self.object, main_routes).await??;
        for gateway in gateways {
            let on_link = !addresses.iter().any(|net| net.contains(gateway));
            self.socket
                .add_gateway(&self.object, self.link.index, on_link, *gateway, &routes)
                .await?;
        }
        Ok(())
    }

    /// Sets the sysctls of the link. Returns whether it can have IPv6 addresses.
    async fn set_sysctls(&self, addresses: &BTreeSet<IpNet>, first: bool) -> Result<bool, Error> {
        let name = self.link.name.clone();
        let v6 = addresses.iter().any(|net| net.addr().is_ipv6());
        netns::run_in(&self.namespace, &self.object, move || {
            // A reply to a client outside may leave by this link with the address of another network. The ARP request for the
            // gateway must have this link's address then.
            sysctl::ensure(&format!("net/ipv4/conf/{name}/arp_announce"), "2")?;
            let key = |key: &str| format!("net/ipv6/conf/{name}/{key}");
            if (v6 && first) || sysctl::has_ipv6() {
                sysctl::ensure(&key("accept_ra"), "0")?;
                sysctl::ensure(&key("accept_dad"), "0")?;
            }
            if v6 && first {
                sysctl::ensure(&key("disable_ipv6"), "0")?;
            }
            Ok(has_ipv6(&name))
        })
        .await?
    }
}

/// Whether a device of the calling thread's namespace can have IPv6 addresses.
fn has_ipv6(name: &str) -> bool {
    sysctl::read(&format!("net/ipv6/conf/{name}/disable_ipv6")).is_ok_and(|value| value == "0")
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
