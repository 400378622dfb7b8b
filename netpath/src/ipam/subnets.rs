//! Pools, and the selection of free subnets.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv6Net};
use serde::Deserialize;

use super::{Prefixes, address, bounds};

/// A pool of new subnets: the blocks of `prefix` with prefix length `bits`. Text form `CIDR/BITS`, for example
/// `172.20.0.0/14/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pool {
    /// Prefix of the pool, host bits zero.
    pub prefix: IpNet,
    /// Prefix length of a subnet: at least that of `prefix`, and at most 30 (IPv4) or 126 (IPv6).
    pub bits: u8,
}

/// The text is not a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a pool: {reason}; write CIDR/BITS, for example 172.20.0.0/14/24")]
pub struct PoolError {
    text: String,
    reason: &'static str,
}

impl FromStr for Pool {
    type Err = PoolError;

    fn from_str(text: &str) -> Result<Self, PoolError> {
        let bad = |reason| PoolError {
            text: text.to_owned(),
            reason,
        };
        let (prefix, bits) = text.rsplit_once('/').ok_or_else(|| bad("it has no '/'"))?;
        let prefix: IpNet = prefix
            .parse()
            .map_err(|_| bad("the text before the last '/' is not a CIDR"))?;
        let bits: u8 = bits.parse().map_err(|_| bad("its BITS are not a number"))?;
        if prefix != prefix.trunc() {
            return Err(bad("its CIDR has host bits"));
        }
        if bits < prefix.prefix_len() || bits > prefix.max_prefix_len() - 2 {
            return Err(bad(
                "BITS is less than the prefix length of the CIDR, or greater than 30 (IPv4) or 126 (IPv6)",
            ));
        }
        Ok(Self { prefix, bits })
    }
}

impl TryFrom<String> for Pool {
    type Error = PoolError;

    fn try_from(text: String) -> Result<Self, PoolError> {
        text.parse()
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.prefix, self.bits)
    }
}

/// The first block of the pools of `like`'s family that overlaps neither `used` nor `avoid`.
///
/// The search skips each conflicting prefix as a whole, so its cost is proportional to the number of conflicts.
pub fn choose_subnet<T>(
    pools: &[Pool],
    like: IpAddr,
    used: &Prefixes<T>,
    avoid: &[IpNet],
) -> Option<IpNet> {
    pools
        .iter()
        .filter(|pool| pool.prefix.addr().is_ipv4() == like.is_ipv4())
        .find_map(|pool| choose_in(pool, used, avoid))
}

/// A unique local /64 (RFC 4193 §3.1) whose 40-bit global ID and 16-bit subnet ID are the low 56 bits of `random`.
pub fn ula_subnet(random: u64) -> IpNet {
    let bits = (0xfd_u128 << 120) | (u128::from(random & 0x00ff_ffff_ffff_ffff) << 64);
    IpNet::V6(Ipv6Net::new_assert(bits.into(), 64).trunc())
}

fn choose_in<T>(pool: &Pool, used: &Prefixes<T>, avoid: &[IpNet]) -> Option<IpNet> {
    let (mut start, end) = bounds(&pool.prefix);
    let size = 1_u128 << (pool.prefix.max_prefix_len() - pool.bits);
    while start <= end {
        let block = IpNet::new(address(start, pool.prefix.addr()), pool.bits).ok()?;
        let obstacle = used
            .overlapping(&block)
            .map(|(prefix, _)| prefix)
            .or_else(|| avoid.iter().copied().find(|other| overlap(other, &block)));
        let Some(obstacle) = obstacle else {
            return Some(block);
        };
        let after = bounds(&obstacle).1.max(bounds(&block).1).checked_add(1)?;
        start = after.checked_next_multiple_of(size)?;
    }
    None
}

/// Whether two prefixes have an address in common.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn net(text: &str) -> IpNet {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn pool(text: &str) -> Pool {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn invalid_pool_is_refused() {
        assert_eq!(pool("172.20.0.0/14/24").to_string(), "172.20.0.0/14/24");
        for bad in [
            "172.20.0.0/14",
            "172.20.0.1/14/24",
            "10.0.0.0/8/31",
            "10.0.0.0/8/7",
            "x/8/24",
            "10.0.0.0/8/x",
        ] {
            assert!(bad.parse::<Pool>().is_err(), "{bad}");
        }
    }

    #[test]
    fn route_larger_than_the_pool_selects_the_next_pool() {
        let pools = [pool("10.5.0.0/16/24"), pool("192.168.0.0/16/20")];
        let chosen = choose_subnet(&pools, V4, &Prefixes::<()>::default(), &[net("10.0.0.0/8")]);
        assert_eq!(chosen, Some(net("192.168.0.0/20")));
    }

    #[test]
    fn default_route_in_avoid_exhausts_every_pool() {
        let pools = [pool("10.5.0.0/16/24")];
        assert_eq!(
            choose_subnet(&pools, V4, &Prefixes::<()>::default(), &[net("0.0.0.0/0")]),
            None
        );
    }

    proptest! {
        #[test]
        fn first_free_block_is_chosen(obstacles in prop::collection::vec((0_u32..1 << 16, 18_u8..=32), 0..20)) {
            let pool = pool("10.0.0.0/16/22");
            let mut used = Prefixes::default();
            let mut avoid = Vec::new();
            for (bits, length) in obstacles {
                let prefix = IpNet::new(Ipv4Addr::from_bits(0x0a00_0000 | bits).into(), length)
                    .map(|net| net.trunc())
                    .unwrap_or_else(|error| panic!("{error}"));
                avoid.push(prefix);
                if let Err((prefix, ())) = used.insert(prefix, ()) {
                    avoid.push(prefix);
                }
            }
            let expected = pool
                .prefix
                .subnets(pool.bits)
                .unwrap_or_else(|error| panic!("{error}"))
                .find(|block| !avoid.iter().any(|other| overlap(other, block)));
            prop_assert_eq!(choose_subnet(&[pool], V4, &used, &avoid), expected);
        }

        #[test]
        fn unique_local_subnet_has_rfc_4193_format(random: u64) {
            let subnet = ula_subnet(random);
            prop_assert!(net("fd00::/8").contains(&subnet));
            prop_assert_eq!(subnet.prefix_len(), 64);
            prop_assert_eq!(subnet, subnet.trunc());
        }
    }
}
