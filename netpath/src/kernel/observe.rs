//! Observation of netpath's devices.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    Address, BRIDGE_PREFIX, Error, Kernel, Link, VETH_PREFIX, address::global_nets, sysctl,
};
use crate::{
    model::Rate,
    plan::{ObservedBridge, ObservedVeth},
};

/// A host interface with its index, for [`Kernel::observe_inside`].
pub type IndexedVeth = (u32, ObservedVeth);

impl Kernel {
    /// Every bridge of netpath, by name.
    pub async fn observe_bridges(&self) -> Result<BTreeMap<String, ObservedBridge>, Error> {
        let links = self.links().await?;
        let mut addresses: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
        for address in self.addresses().await? {
            addresses.entry(address.index).or_default().push(address);
        }
        Ok(links
            .into_iter()
            .filter(|link| link.name.starts_with(BRIDGE_PREFIX))
            .filter_map(|link| {
                let own = addresses.remove(&link.index).unwrap_or_default();
                bridge(&link, &own).map(|bridge| (link.name, bridge))
            })
            .collect())
    }

    /// One bridge; `None` if there is no bridge of that name.
    pub async fn observe_bridge(&self, name: &str) -> Result<Option<ObservedBridge>, Error> {
        let Some(link) = self.link(name).await? else {
            return Ok(None);
        };
        let addresses = self.addresses_of(link.index).await?;
        Ok(bridge(&link, &addresses))
    }

    /// Global addresses of an interface, with prefix lengths.
    ///
    /// # Errors
    /// If the kernel refuses the request.
    pub async fn global_addresses(&self, index: u32) -> Result<Vec<IpNet>, Error> {
        let addresses = self.addresses_of(index).await?;
        Ok(global_nets(&addresses).into_iter().collect())
    }

    /// Every host interface of netpath, by name, without the container link.
    pub async fn observe_veths(&self) -> Result<BTreeMap<String, IndexedVeth>, Error> {
        let links = self.links().await?;
        let names: BTreeMap<u32, &str> = links
            .iter()
            .map(|link| (link.index, link.name.as_str()))
            .collect();
        let mut veths = BTreeMap::new();
        for link in &links {
            if !link.name.starts_with(VETH_PREFIX) {
                continue;
            }
            let master = link.master.and_then(|index| names.get(&index));
            let master = master.map(|name| (*name).to_owned());
            if let Some(veth) = veth(link, master, self.rate(link).await?) {
                veths.insert(link.name.clone(), veth);
            }
        }
        Ok(veths)
    }

    /// One host interface, without the container link; `None` if there is no veth pair of that name.
    pub async fn observe_veth(&self, name: &str) -> Result<Option<IndexedVeth>, Error> {
        let Some(link) = self.link(name).await? else {
            return Ok(None);
        };
        let master = match link.master {
            Some(index) => self.link_by_index(index).await?.map(|link| link.name),
            None => None,
        };
        Ok(veth(&link, master, self.rate(&link).await?))
    }
}

fn bridge(link: &Link, addresses: &[Address]) -> Option<ObservedBridge> {
    link.expect_kind("bridge").ok()?;
    let addresses = global_nets(addresses);
    Some(ObservedBridge {
        mac: link.mac?,
        mtu: link.mtu,
        up: link.up,
        forwarding: forwards(&link.name, &addresses),
        addresses,
    })
}

/// Whether the stack forwards in every family of the addresses; false for a bridge that was just removed.
fn forwards(name: &str, addresses: &BTreeSet<IpNet>) -> bool {
    ["ipv4", "ipv6"].iter().all(|family| {
        let v6 = *family == "ipv6";
        !addresses.iter().any(|net| net.addr().is_ipv6() == v6) || sysctl::forwards(family, name)
    })
}

fn veth(link: &Link, bridge: Option<String>, rate: Option<Rate>) -> Option<IndexedVeth> {
    link.expect_kind("veth").ok()?;
    let observed = ObservedVeth {
        bridge,
        mtu: link.mtu,
        up: link.up,
        rate,
        configured: !link.unconfigured,
        inside: None,
    };
    Some((link.index, observed))
}
