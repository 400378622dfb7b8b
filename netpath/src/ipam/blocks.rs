//! The blocks of an overlay subnet, which nodes claim.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{address, bounds, number};

/// Prefix length of a block of a large IPv4 subnet.
const V4_LENGTH: u8 = 24;
/// Prefix length of a block of a large IPv6 subnet.
const V6_LENGTH: u8 = 112;
/// A smaller subnet has 2^4 blocks, as long as a block has four addresses or more.
const DIVISION: u8 = 4;
/// Every subnet has at least 2^2 blocks.
const LEAST_DIVISION: u8 = 2;
/// Largest number of blocks.
const MOST: u32 = 1 << 16;

/// The division of a prefix into blocks of equal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    prefix: IpNet,
    /// Prefix length of a block.
    length: u8,
}

impl Blocks {
    /// The blocks of `prefix`: IPv4 /24 and IPv6 /112, or smaller ones if the prefix is small. A prefix of one or two
    /// addresses is one block.
    pub fn of(prefix: IpNet) -> Self {
        let whole = prefix.max_prefix_len();
        let large = if prefix.addr().is_ipv4() {
            V4_LENGTH
        } else {
            V6_LENGTH
        };
        let own = prefix.prefix_len();
        let length = large
            .max(own.saturating_add(DIVISION))
            .min(whole - LEAST_DIVISION)
            .max(own.saturating_add(LEAST_DIVISION));
        let length = if length > whole { own } else { length };
        Self {
            prefix: prefix.trunc(),
            length,
        }
    }

    /// Number of blocks.
    pub fn count(&self) -> u32 {
        let bits = self.length - self.prefix.prefix_len();
        1_u32
            .checked_shl(bits.into())
            .map_or(MOST, |count| count.min(MOST))
    }

    /// The block with this index; `None` if there is none.
    pub fn get(&self, index: u32) -> Option<IpNet> {
        if index >= self.count() {
            return None;
        }
        let first = bounds(&self.prefix).0 + u128::from(index) * self.size();
        IpNet::new(address(first, self.prefix.addr()), self.length).ok()
    }

    /// Index of the block with this address; `None` if the address is in no block.
    pub fn index_of(&self, ip: IpAddr) -> Option<u32> {
        if !self.prefix.contains(&ip) {
            return None;
        }
        let offset = number(ip) - bounds(&self.prefix).0;
        let index = u32::try_from(offset / self.size()).ok()?;
        (index < self.count()).then_some(index)
    }

    /// Number of addresses of a block. A block of all IPv6 addresses does not exist, so the shift does not overflow.
    fn size(&self) -> u128 {
        1_u128 << (self.prefix.max_prefix_len() - self.length).min(127)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(text: &str) -> Blocks {
        Blocks::of(text.parse().unwrap_or_else(|error| panic!("{error}")))
    }

    #[test]
    fn size_of_blocks_follows_from_the_subnet() {
        for (prefix, count, second) in [
            ("10.0.0.0/8", 65_536, "10.0.1.0/24"),
            ("10.1.0.0/16", 256, "10.1.1.0/24"),
            ("10.1.0.0/20", 16, "10.1.1.0/24"),
            ("10.1.1.0/24", 16, "10.1.1.16/28"),
            ("10.1.1.0/26", 16, "10.1.1.4/30"),
            ("10.1.1.0/28", 4, "10.1.1.4/30"),
            ("10.1.1.0/30", 4, "10.1.1.1/32"),
            ("fd00::/64", 65_536, "fd00::1:0/112"),
            ("fd00::/112", 16, "fd00::1000/116"),
            ("fd00::/126", 4, "fd00::1/128"),
        ] {
            let blocks = blocks(prefix);
            let second: IpNet = second.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                (blocks.count(), blocks.get(1)),
                (count, Some(second)),
                "{prefix}"
            );
            assert_eq!(blocks.get(count), None);
        }
        assert_eq!(blocks("10.1.1.7/32").count(), 1);
    }

    proptest! {
        #[test]
        fn every_address_is_in_the_block_of_its_index(length in 8_u8..=30, offset: u32) {
            let prefix = IpNet::new(std::net::Ipv4Addr::from_bits(0x0a00_0000).into(), length)
                .unwrap_or_else(|error| panic!("{error}"));
            let blocks = Blocks::of(prefix);
            let (first, last) = bounds(&prefix);
            let ip = address(first + u128::from(offset) % (last - first + 1), prefix.addr());
            let index = blocks.index_of(ip).unwrap_or_else(|| panic!("{ip} has no block"));
            let block = blocks.get(index).unwrap_or_else(|| panic!("no block {index}"));
            prop_assert!(block.contains(&ip) && prefix.contains(&block));
            prop_assert!(blocks.count() >= 4);
        }
    }
}
