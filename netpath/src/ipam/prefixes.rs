//! A set of disjoint prefixes, each with its owner.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::bounds;

/// Prefixes of both families that do not overlap.
#[derive(Clone, Debug)]
pub struct Prefixes<T> {
    /// By family (`true` for IPv6) and first address.
    by_first: BTreeMap<(bool, u128), (IpNet, T)>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self {
            by_first: BTreeMap::new(),
        }
    }
}

impl<T> Prefixes<T> {
    /// Adds a prefix.
    ///
    /// # Errors
    /// Returns the prefix and its owner if it overlaps a prefix of the set; the set is unchanged then.
    pub fn insert(&mut self, prefix: IpNet, owner: T) -> Result<(), (IpNet, T)> {
        if self.overlapping(&prefix).is_some() {
            return Err((prefix, owner));
        }
        self.by_first.insert(key(&prefix), (prefix, owner));
        Ok(())
    }

    /// Removes a prefix and returns its owner; `None` if it is not in the set.
    pub fn remove(&mut self, prefix: &IpNet) -> Option<T> {
        match self.by_first.get(&key(prefix)) {
            Some((found, _)) if found == prefix => {
                self.by_first.remove(&key(prefix)).map(|(_, owner)| owner)
            }
            _ => None,
        }
    }

    /// The last prefix of the set that overlaps `prefix`, and its owner.
    pub fn overlapping(&self, prefix: &IpNet) -> Option<(IpNet, &T)> {
        let (first, last) = bounds(prefix);
        let family = key(prefix).0;
        let (_, (found, owner)) = self
            .by_first
            .range((family, 0)..=(family, last))
            .next_back()?;
        (bounds(found).1 >= first).then_some((*found, owner))
    }
}

fn key(prefix: &IpNet) -> (bool, u128) {
    (matches!(prefix, IpNet::V6(_)), bounds(prefix).0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(bits: u32, length: u8) -> IpNet {
        IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), length)
            .map(|net| net.trunc())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    proptest! {
        #[test]
        fn overlap_is_found_exactly(entries in prop::collection::vec((0_u32..1 << 12, 22_u8..=32), 0..30), candidate in (0_u32..1 << 12, 20_u8..=32)) {
            let mut prefixes = Prefixes::default();
            let mut kept: Vec<IpNet> = Vec::new();
            for (bits, length) in entries {
                let net = prefix(bits, length);
                let clash = kept.iter().any(|other| other.contains(&net) || net.contains(other));
                prop_assert_eq!(prefixes.insert(net, ()).is_err(), clash);
                if !clash {
                    kept.push(net);
                }
            }
            let candidate = prefix(candidate.0, candidate.1);
            let clash = kept.iter().any(|other| other.contains(&candidate) || candidate.contains(other));
            prop_assert_eq!(prefixes.overlapping(&candidate).is_some(), clash);
            for net in &kept {
                prop_assert!(prefixes.remove(net).is_some());
            }
            prop_assert!(prefixes.by_first.is_empty());
        }
    }
}
