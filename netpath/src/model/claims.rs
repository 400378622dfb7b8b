//! The addresses of an overlay network that nodes have claimed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use serde::{Deserialize, Serialize};

use super::{Id, Name, RemotePrefix, Subnet};
use crate::ipam::{Blocks, bounds, number};

/// The blocks of a network: the blocks with one index of all its subnets are claimed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    families: Vec<(Blocks, Subnet)>,
}

impl Layout {
    /// The blocks of subnets; those of their ranges if they have ranges.
    pub fn of(subnets: &[Subnet]) -> Self {
        let families = subnets.iter().map(|subnet| {
            let blocks = Blocks::of(subnet.range.unwrap_or(subnet.prefix));
            (blocks, subnet.clone())
        });
        Self {
            families: families.collect(),
        }
    }

    /// Number of indices.
    pub fn count(&self) -> u32 {
        let counts = self.families.iter().map(|(blocks, _)| blocks.count());
        counts.min().unwrap_or_default()
    }

    /// The blocks with this index, one for each subnet.
    pub fn get(&self, index: u32) -> impl Iterator<Item = IpNet> {
        let families = self.families.iter();
        families.filter_map(move |(blocks, _)| blocks.get(index))
    }

    /// Index of the block with this address; `None` if it is in no block.
    pub fn index_of(&self, ip: IpAddr) -> Option<u32> {
        let mut families = self.families.iter();
        let index = families.find_map(|(blocks, _)| blocks.index_of(ip))?;
        (index < self.count()).then_some(index)
    }

    /// Whether each block with this index has an address that a sandbox can have.
    fn is_usable(&self, index: u32) -> bool {
        self.families.iter().all(|(blocks, subnet)| {
            let Some((first, last)) = blocks.get(index).as_ref().map(bounds) else {
                return false;
            };
            let (low, high) = bounds(&subnet.prefix);
            let mut reserved: BTreeSet<u128> = [low, number(subnet.gateway)].into();
            if subnet.prefix.addr().is_ipv4() {
                reserved.insert(high);
            }
            let reserved = reserved.range(first..=last).count() as u128;
            last - first + 1 > reserved
        })
    }
}

/// A claim of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Name of the node.
    pub node: Name,
    /// When the node made it, in milliseconds since 1970. Decides between two claims after the store was restored.
    pub since: u64,
    /// MAC address of the endpoint, if it does not follow from the address. Only for an address.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::sandbox::optional_mac_text"
    )]
    pub mac: Option<MacAddr>,
}

/// The claims of all nodes in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Id of the network.
    pub network: Id,
    /// Blocks, by index.
    #[serde(default)]
    pub blocks: BTreeMap<u32, Claim>,
    /// Single addresses: those outside of the blocks of their node, and those whose endpoint has a MAC address of its own.
    #[serde(default)]
    pub kept: BTreeMap<IpAddr, Claim>,
    /// Claims of blocks that another node has in a restored store, by index. That node confirms its claim or gives it up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disputed: BTreeMap<u32, Claim>,
    /// Index at which the search of the next claim starts, so that a released block is claimed as late as possible.
    #[serde(default)]
    pub next: u32,
}

/// Why an address cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// It is in a block of another node, or that node has claimed it.
    #[error("it belongs to node '{0}'")]
    Claimed(Name),
}

/// A claim of this node that another node has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// The addresses.
    pub prefixes: Vec<IpNet>,
    /// The other node.
    pub node: Name,
}

impl Claims {
    /// No claims in this network.
    pub fn of(network: Id) -> Self {
        Self {
            network,
            blocks: BTreeMap::new(),
            kept: BTreeMap::new(),
            disputed: BTreeMap::new(),
            next: 0,
        }
    }

    /// Nodes with a claim.
    pub fn nodes(&self) -> BTreeSet<&Name> {
        let claims = self.blocks.values().chain(self.disputed.values());
        let claims = claims.chain(self.kept.values());
        claims.map(|claim| &claim.node).collect()
    }

    /// Claims a free block for a node. Returns its index; `None` if no block is free.
    pub fn claim(&mut self, layout: &Layout, node: &Name, since: u64) -> Option<u32> {
        let count = layout.count();
        let start = self.next.min(count);
        let free = |index: &u32| {
            let claimed = self.blocks.contains_key(index) || self.disputed.contains_key(index);
            !claimed && layout.is_usable(*index)
        };
        let index = (start..count).chain(0..start).find(free)?;
        self.blocks.insert(index, claim(node, since, None));
        self.next = (index + 1) % count;
        Some(index)
    }

    /// Claims a single address for a node.
    ///
    /// # Errors
    /// It belongs to another node.
    pub fn keep(
        &mut self,
        layout: &Layout,
        ip: IpAddr,
        node: &Name,
        since: u64,
        mac: Option<MacAddr>,
    ) -> Result<(), KeepError> {
        let block = layout.index_of(ip);
        let block = block.and_then(|index| self.blocks.get(&index));
        // An address that its node has given to another node is in a block of that node.
        let holder = self.kept.get(&ip).or(block);
        if let Some(other) = holder.filter(|claim| claim.node != *node) {
            return Err(KeepError::Claimed(other.node.clone()));
        }
        self.kept.insert(ip, claim(node, since, mac));
        Ok(())
    }

    /// Releases a single address of a node.
    pub fn forget(&mut self, ip: IpAddr, node: &Name) {
        if self.kept.get(&ip).is_some_and(|claim| claim.node == *node) {
            self.kept.remove(&ip);
        }
    }

    /// Releases every claim of a node.
    pub fn release(&mut self, node: &Name) {
        self.disputed.retain(|_, claim| claim.node != *node);
        self.vacate(node, |_| false);
        self.kept.retain(|_, claim| claim.node != *node);
    }

    /// Removes the blocks of a node for which `keeps` does not hold. The node that disputes one gets it.
    fn vacate(&mut self, node: &Name, keeps: impl Fn(u32) -> bool) {
        let blocks = self.blocks.iter();
        let left = blocks.filter(|(index, claim)| claim.node == *node && !keeps(**index));
        let left: Vec<u32> = left.map(|(index, _)| *index).collect();
        for index in left {
            self.blocks.remove(&index);
            if let Some(claim) = self.disputed.remove(&index) {
                self.blocks.insert(index, claim);
            }
        }
    }

    /// Makes the claims of a node equal to those that it has recorded itself: adds missing ones, and removes others. Of two
    /// claims, the earlier one remains, once its node has confirmed it. Returns those that other nodes have.
    pub fn assert(&mut self, layout: &Layout, node: &Name, own: &OwnClaims) -> Vec<Lost> {
        let blocks = &own.blocks;
        self.disputed
            .retain(|index, claim| claim.node != *node || blocks.contains_key(index));
        self.vacate(node, |index| blocks.contains_key(&index));
        let kept = &own.kept;
        self.kept
            .retain(|ip, claim| claim.node != *node || kept.contains_key(ip));
        let mut lost = Vec::new();
        for (index, since) in blocks {
            let mine = claim(node, *since, None);
            if let Err(other) = self.assert_block(*index, mine, own.disputed.contains(index)) {
                lost.push(Lost {
                    prefixes: layout.get(*index).collect(),
                    node: other,
                });
            }
        }
        for (ip, kept) in &own.kept {
            let mine = claim(node, kept.since, kept.mac);
            match self.kept.get(ip) {
                Some(other) if other.node != *node && other.precedes(&mine) => lost.push(Lost {
                    prefixes: vec![IpNet::from(*ip)],
                    node: other.node.clone(),
                }),
                _ => drop(self.kept.insert(*ip, mine)),
            }
        }
        lost
    }

    /// Claims or disputes a block; returns the other node if that is not possible. `disputed` states whether this claim has
    /// disputed that of another node before.
    fn assert_block(&mut self, index: u32, mine: Claim, disputed: bool) -> Result<(), Name> {
        let other = self.blocks.get(&index);
        let Some(other) = other.filter(|other| other.node != mine.node && other.precedes(&mine))
        else {
            self.blocks.insert(index, mine);
            // This node confirms the claim.
            self.disputed.remove(&index);
            return Ok(());
        };
        match self.disputed.get(&index) {
            Some(dispute) if dispute.node == mine.node => Ok(()),
            Some(dispute) if dispute.precedes(&mine) => Err(other.node.clone()),
            // The other node has confirmed its claim.
            None if disputed => Err(other.node.clone()),
            Some(_) | None => {
                self.disputed.insert(index, mine);
                Ok(())
            }
        }
    }

    /// Whether a node must confirm a claim that another node disputes.
    pub fn is_disputed(&self, node: &Name) -> bool {
        let mut disputed = self.disputed.keys();
        disputed.any(|index| {
            let claim = self.blocks.get(index);
            claim.is_none_or(|claim| claim.node == *node)
        })
    }

    /// Addresses that belong to other nodes than `node`.
    pub fn remotes<'a>(
        &'a self,
        layout: &'a Layout,
        network: &'a Name,
        node: &'a Name,
    ) -> impl Iterator<Item = RemotePrefix> + 'a {
        let remote = move |prefix, claim: &Claim| RemotePrefix {
            network: network.clone(),
            prefix,
            peer: claim.node.clone(),
            mac: claim.mac,
        };
        let blocks = self.blocks.iter().flat_map(move |(index, claim)| {
            layout.get(*index).map(move |prefix| remote(prefix, claim))
        });
        let kept = self.kept.iter();
        let kept = kept.map(move |(ip, claim)| remote(IpNet::from(*ip), claim));
        blocks
            .chain(kept)
            .filter(move |remote| remote.peer != *node)
    }
}

impl Claim {
    /// Whether this claim has precedence over a later one.
    fn precedes(&self, other: &Self) -> bool {
        (self.since, &self.node) < (other.since, &other.node)
    }
}

fn claim(node: &Name, since: u64, mac: Option<MacAddr>) -> Claim {
    Claim {
        node: node.clone(),
        since,
        mac,
    }
}

/// The claims of this node in one network, as it has recorded them itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnClaims {
    /// Id of the network.
    pub network: Id,
    /// Blocks: when each was claimed, by index.
    pub blocks: BTreeMap<u32, u64>,
    /// Indices of blocks that another node has too, in a restored store. Their addresses are not allocated.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disputed: BTreeSet<u32>,
    /// Single addresses.
    pub kept: BTreeMap<IpAddr, OwnAddress>,
    /// Addresses in the blocks that other nodes had claimed before. No other node claims one afterwards. An address stays here
    /// when it is released, as long as its block is claimed.
    #[serde(default)]
    pub except: BTreeSet<IpAddr>,
}

/// A claimed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnAddress {
    /// When it was claimed.
    pub since: u64,
    /// MAC address of the endpoint, if it does not follow from the address.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::sandbox::optional_mac_text"
    )]
    pub mac: Option<MacAddr>,
}

impl OwnClaims {
    /// The claims of a node among those of all nodes.
    pub fn of(claims: &Claims, layout: &Layout, node: &Name) -> Self {
        let mine = |(_, claim): &(&u32, &Claim)| claim.node == *node;
        let disputed = claims.disputed.iter().filter(mine);
        let blocks = claims.blocks.iter().filter(mine).chain(disputed.clone());
        let blocks: BTreeMap<u32, u64> =
            blocks.map(|(index, claim)| (*index, claim.since)).collect();
        let (kept, others): (Vec<_>, Vec<_>) = claims
            .kept
            .iter()
            .partition(|(_, claim)| claim.node == *node);
        let except = others.into_iter().map(|(ip, _)| *ip);
        let except = except.filter(|ip| is_in_blocks(&blocks, layout, *ip));
        Self {
            network: claims.network,
            disputed: disputed.map(|(index, _)| *index).collect(),
            except: except.collect(),
            blocks,
            kept: kept
                .into_iter()
                .map(|(ip, claim)| {
                    let own = OwnAddress {
                        since: claim.since,
                        mac: claim.mac,
                    };
                    (*ip, own)
                })
                .collect(),
        }
    }

    /// The same claims, also without the addresses that `before` excludes: a store that was restored may not have the claims of
    /// other nodes yet.
    #[must_use]
    pub fn after(mut self, layout: &Layout, before: Option<&Self>) -> Self {
        let blocks = &self.blocks;
        let excluded = before.into_iter().flat_map(|before| &before.except);
        let excluded = excluded.filter(|ip| is_in_blocks(blocks, layout, **ip));
        let excluded: Vec<IpAddr> = excluded.copied().collect();
        self.except.extend(excluded);
        self
    }

    /// Whether the node has claimed nothing.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.kept.is_empty()
    }

    /// Whether an address is in a block that another node has too.
    pub fn is_disputed(&self, layout: &Layout, ip: IpAddr) -> bool {
        let index = layout.index_of(ip);
        index.is_some_and(|index| self.disputed.contains(&index))
    }

    /// The prefixes that the node may use.
    pub fn prefixes(&self, layout: &Layout) -> Vec<IpNet> {
        let blocks = self.blocks.keys();
        let blocks = blocks.filter(|index| !self.disputed.contains(index));
        blocks
            .flat_map(|index| layout.get(*index))
            .chain(self.kept.keys().copied().map(IpNet::from))
            .collect()
    }
}

/// Whether an address is in one of these blocks.
fn is_in_blocks(blocks: &BTreeMap<u32, u64>, layout: &Layout, ip: IpAddr) -> bool {
    let index = layout.index_of(ip);
    index.is_some_and(|index| blocks.contains_key(&index))
}

#[cfg(test)]
mod tests;
