//! The VNIs and subnets of all overlay networks of a cluster.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Id, Name, Network, Vni};
use crate::ipam::overlap;

/// First VNI that is allocated; the lower ones are for requests that name one.
const FIRST_VNI: u32 = 4096;

/// What no two overlay networks have in common. One small object for all networks, so that a new network is one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayRanges {
    /// By name of the network.
    pub networks: BTreeMap<Name, OverlayRange>,
    /// VNI at which the next search starts, so that a released VNI is allocated as late as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Vni>,
}

/// What belongs to one overlay network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayRange {
    /// Id of the network.
    pub id: Id,
    /// Its VNI.
    pub vni: Vni,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
}

impl OverlayRanges {
    /// The network with this VNI; `None` if it is free.
    pub fn with_vni(&self, vni: Vni) -> Option<&Name> {
        let mut networks = self.networks.iter();
        let found = networks.find(|(_, range)| range.vni == vni);
        found.map(|(name, _)| name)
    }

    /// The network with a subnet that overlaps `prefix`, and that subnet.
    pub fn overlapping(&self, prefix: &IpNet) -> Option<(IpNet, &Name)> {
        self.networks.iter().find_map(|(name, range)| {
            let mut subnets = range.subnets.iter();
            let found = subnets.find(|other| overlap(other, prefix))?;
            Some((*found, name))
        })
    }

    /// The next free VNI; `None` if none is free.
    pub fn free_vni(&self) -> Option<Vni> {
        let taken: std::collections::BTreeSet<u32> = self
            .networks
            .values()
            .map(|range| range.vni.number())
            .collect();
        let start = self.next.map_or(FIRST_VNI, Vni::number).max(FIRST_VNI);
        let mut candidates = (start..=Vni::MAX).chain(FIRST_VNI..start);
        let free = candidates.find(|number| !taken.contains(number))?;
        Vni::try_from(free).ok()
    }

    /// Adds an overlay network. Its properties are free.
    pub fn insert(&mut self, network: &Network) {
        let Some(overlay) = network.overlay else {
            return;
        };
        let range = OverlayRange {
            id: network.id,
            vni: overlay.vni,
            subnets: network.subnets.iter().map(|it| it.prefix).collect(),
        };
        self.next = Vni::try_from(overlay.vni.number() + 1)
            .ok()
            .filter(|next| next.number() > FIRST_VNI)
            .or(self.next);
        self.networks.insert(network.name.clone(), range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(vni: u32, subnet: &str) -> OverlayRange {
        OverlayRange {
            id: Id::from_random(vni.into()),
            vni: Vni::try_from(vni).unwrap(),
            subnets: vec![subnet.parse().unwrap()],
        }
    }

    #[test]
    fn taken_vnis_and_subnets_are_found() {
        let mut ranges = OverlayRanges::default();
        assert_eq!(ranges.free_vni().map(Vni::number), Some(4096));
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        ranges.networks.insert(one, range(4096, "10.1.0.0/16"));
        ranges.networks.insert(two, range(4097, "10.2.0.0/16"));
        assert_eq!(ranges.free_vni().map(Vni::number), Some(4098));
        let vni = |number| Vni::try_from(number).unwrap();
        assert_eq!(ranges.with_vni(vni(4097)).map(Name::as_str), Some("two"));
        assert_eq!(ranges.with_vni(vni(9)), None);
        let found = ranges.overlapping(&"10.0.0.0/15".parse().unwrap()).unwrap();
        assert_eq!(
            (found.0.to_string().as_str(), found.1.as_str()),
            ("10.1.0.0/16", "one")
        );
        assert_eq!(ranges.overlapping(&"10.3.0.0/16".parse().unwrap()), None);
    }

    #[test]
    fn search_for_a_vni_continues_and_wraps() {
        let mut ranges = OverlayRanges {
            next: Vni::try_from(Vni::MAX).ok(),
            ..OverlayRanges::default()
        };
        assert_eq!(ranges.free_vni().map(Vni::number), Some(Vni::MAX));
        let last = range(Vni::MAX, "10.1.0.0/16");
        ranges.networks.insert("last".parse().unwrap(), last);
        assert_eq!(ranges.free_vni().map(Vni::number), Some(4096));
    }
}
