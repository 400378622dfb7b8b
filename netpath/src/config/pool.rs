//! Pools of addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::ConfigError;
use crate::ipam::{Pool, overlap};

/// The default pools, those of Docker for IPv4: /16 subnets, which have more addresses than a bridge has ports, and
/// then /20 subnets. For IPv6 /64 subnets of a unique local /48 (RFC 4193), whose global ID is derived from the node's
/// name. `docker` is set if Docker Engine runs on the node: the subnet of its default network is left to it then.
pub(super) fn defaults(node: &str, docker: bool) -> Vec<Pool> {
    let v4 = [
        (Ipv4Addr::new(172, 17, 0, 0), 16, 16),
        (Ipv4Addr::new(172, 18, 0, 0), 15, 16),
        (Ipv4Addr::new(172, 20, 0, 0), 14, 16),
        (Ipv4Addr::new(172, 24, 0, 0), 13, 16),
        (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
    ];
    let v4 = v4
        .into_iter()
        .skip(usize::from(docker))
        .filter_map(|(address, length, bits)| {
            Some(Pool {
                prefix: Ipv4Net::new(address, length).ok()?.into(),
                bits,
            })
        });
    let [a, b, c, d, e, ..] = fnv1a(node).to_be_bytes();
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
    let v6 = Ipv6Net::new(Ipv6Addr::from(octets), 48)
        .ok()
        .map(|prefix| Pool {
            prefix: prefix.into(),
            bits: 64,
        });
    v4.chain(v6).collect()
}

/// Refuses pools that overlap: one subnet could be allocated from both.
pub(super) fn check_disjoint(pools: &[Pool]) -> Result<(), ConfigError> {
    for (index, pool) in pools.iter().enumerate() {
        let mut earlier = pools.iter().take(index);
        if let Some(other) = earlier.find(|other| overlap(&other.prefix, &pool.prefix)) {
            return Err(ConfigError::invalid(
                "pool",
                format!("{pool} and {other} overlap"),
            ));
        }
    }
    Ok(())
}

/// FNV-1a: its result does not depend on the version or the machine.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
