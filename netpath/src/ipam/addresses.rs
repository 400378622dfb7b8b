//! The addresses of one subnet.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{Ranges, address, bounds, number};

/// Addresses of a subnet that are in use.
///
/// Allocation continues after the last allocated address, so that a released address is reused as late as possible:
/// neighbours and resolvers may still cache it.
#[derive(Clone, Debug)]
pub struct Addresses {
    prefix: IpNet,
    /// First address of the range that addresses are allocated from.
    first: u128,
    /// Last address of that range.
    last: u128,
    /// Allocated addresses, and the network, broadcast and gateway address.
    taken: Ranges,
    /// Address at which the next search starts.
    next: u128,
    /// Addresses that this node may use; `None` for every address.
    own: Option<Ranges>,
}

/// Why an address is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not in the subnet.
    #[error("address {ip} is not in subnet {subnet}")]
    Outside {
        /// The address.
        ip: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// It is the network, broadcast or gateway address.
    #[error(
        "address {ip} is reserved in subnet {subnet}: it is the network, broadcast or gateway address"
    )]
    Reserved {
        /// The address.
        ip: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// It is in an overlay network, and this node has not claimed it.
    #[error("address {ip} of subnet {subnet} is in no block of this node")]
    Unclaimed {
        /// The address.
        ip: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// It is in use.
    #[error("address {ip} of subnet {subnet} is taken")]
    Taken {
        /// The address.
        ip: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
}

impl Addresses {
    /// A subnet whose addresses are free, except the network, broadcast (IPv4) and `gateway` address. [`Self::next`]
    /// selects addresses of `range`, or of `prefix` if `None`.
    pub fn new(prefix: IpNet, gateway: IpAddr, range: Option<IpNet>) -> Self {
        let (low, high) = bounds(&prefix);
        let (first, last) = bounds(&range.unwrap_or(prefix));
        let mut taken = Ranges::default();
        taken.insert(low, low);
        if prefix.addr().is_ipv4() {
            taken.insert(high, high);
        }
        taken.insert(number(gateway), number(gateway));
        Self {
            prefix,
            first,
            last,
            taken,
            next: first,
            own: None,
        }
    }

    /// Permits only the addresses of these prefixes that are not in `except`. An address that is in use stays in use.
    pub fn restrict(&mut self, prefixes: &[IpNet], except: &BTreeSet<IpAddr>) {
        let mut own = Ranges::default();
        let prefixes = prefixes.iter();
        for (first, last) in prefixes
            .filter(|prefix| self.prefix.contains(*prefix))
            .map(bounds)
        {
            own.insert(first, last);
        }
        for ip in except.iter().filter(|ip| self.prefix.contains(*ip)) {
            own.remove(number(*ip), number(*ip));
        }
        self.own = Some(own);
    }

    /// Whether this node may use `ip`.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        let own = self.own.as_ref();
        own.is_none_or(|own| own.contains(number(ip)))
    }

    /// The next address that this node may use and that is not in use; `None` if no address is free. Allocates nothing.
    pub fn next(&self) -> Option<IpAddr> {
        self.free_from(self.next)
            .or_else(|| self.free_from(self.first))
            .map(|free| address(free, self.prefix.addr()))
    }

    /// The lowest free address from `start` on.
    fn free_from(&self, start: u128) -> Option<u128> {
        let Some(own) = &self.own else {
            return self.taken.first_free(start, self.last);
        };
        own.iter().find_map(|(first, last)| {
            let (first, last) = (start.max(first), self.last.min(last));
            if first > last {
                return None;
            }
            self.taken.first_free(first, last)
        })
    }

    /// Whether `ip` is available.
    ///
    /// # Errors
    /// [`AddressError`] states why it is not. `gateway` is the gateway of the subnet.
    pub fn check(&self, ip: IpAddr, gateway: IpAddr) -> Result<(), AddressError> {
        let subnet = self.prefix;
        let (low, high) = bounds(&subnet);
        let broadcast = ip.is_ipv4() && number(ip) == high;
        if !subnet.contains(&ip) {
            Err(AddressError::Outside { ip, subnet })
        } else if ip == gateway || number(ip) == low || broadcast {
            Err(AddressError::Reserved { ip, subnet })
        } else if self.taken.contains(number(ip)) {
            Err(AddressError::Taken { ip, subnet })
        } else {
            Ok(())
        }
    }

    /// Marks `ip` as in use.
    pub fn take(&mut self, ip: IpAddr) {
        self.taken.insert(number(ip), number(ip));
    }

    /// Sets the start of the next search to the address after `ip`.
    pub fn continue_after(&mut self, ip: IpAddr) {
        self.next = match number(ip).checked_add(1) {
            Some(next) if (self.first..=self.last).contains(&next) => next,
            _ => self.first,
        };
    }

    /// Releases `ip`.
    pub fn release(&mut self, ip: IpAddr) {
        self.taken.remove(number(ip), number(ip));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(prefix: &str, gateway: &str, range: Option<&str>) -> Addresses {
        let net = |text: &str| -> IpNet { text.parse().unwrap_or_else(|error| panic!("{error}")) };
        Addresses::new(net(prefix), ip(gateway), range.map(net))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn released_address_is_reused_last() {
        let mut addresses = subnet("10.0.0.0/29", "10.0.0.1", None);
        let mut allocated = Vec::new();
        for _ in 0..4 {
            let next = addresses.next().unwrap_or_else(|| panic!("none free"));
            addresses.take(next);
            addresses.continue_after(next);
            addresses.release(next);
            allocated.push(next.to_string());
        }
        assert_eq!(allocated, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);
    }

    #[test]
    fn allocation_uses_the_range_and_requests_the_subnet() {
        let mut addresses = subnet("fd00::/64", "fd00::1", Some("fd00::8/126"));
        assert_eq!(addresses.next(), Some(ip("fd00::8")));
        assert_eq!(addresses.check(ip("fd00::2"), ip("fd00::1")), Ok(()));
        addresses.take(ip("fd00::2"));
        assert_eq!(addresses.next(), Some(ip("fd00::8")));
        for last in ["fd00::8", "fd00::9", "fd00::a", "fd00::b"] {
            addresses.take(ip(last));
        }
        assert_eq!(addresses.next(), None);
    }

    #[test]
    fn addresses_come_from_own_prefixes_only() {
        let net = |text: &str| -> IpNet { text.parse().unwrap_or_else(|error| panic!("{error}")) };
        let mut addresses = subnet("10.0.0.0/24", "10.0.0.1", Some("10.0.0.0/25"));
        addresses.restrict(&[], &BTreeSet::new());
        assert_eq!(addresses.next(), None);
        let own = ["10.0.0.8/30", "10.0.0.0/30", "10.9.0.0/24"].map(net);
        let except = ["10.0.0.10", "10.0.0.11"].map(ip);
        addresses.restrict(&own, &except.into());
        let mut allocated = Vec::new();
        while let Some(next) = addresses.next() {
            addresses.take(next);
            addresses.continue_after(next);
            allocated.push(next.to_string());
        }
        assert_eq!(allocated, ["10.0.0.2", "10.0.0.3", "10.0.0.8", "10.0.0.9"]);
        addresses.release(ip("10.0.0.3"));
        assert_eq!(addresses.next(), Some(ip("10.0.0.3")));
        assert!(addresses.is_own(ip("10.0.0.9")) && !addresses.is_own(ip("10.0.0.10")));
        addresses.restrict(&[net("10.0.0.200/32")], &BTreeSet::new());
        assert_eq!(addresses.next(), None, "outside of the range");
    }

    #[test]
    fn address_errors_are_distinct() {
        let mut addresses = subnet("10.0.0.0/24", "10.0.0.1", None);
        let gateway = ip("10.0.0.1");
        addresses.take(ip("10.0.0.9"));
        let reason = |text: &str| addresses.check(ip(text), gateway);
        assert!(matches!(
            reason("10.0.1.9"),
            Err(AddressError::Outside { .. })
        ));
        assert!(matches!(
            reason("10.0.0.9"),
            Err(AddressError::Taken { .. })
        ));
        for reserved in ["10.0.0.0", "10.0.0.1", "10.0.0.255"] {
            assert!(
                matches!(reason(reserved), Err(AddressError::Reserved { .. })),
                "{reserved}"
            );
        }
        assert_eq!(reason("10.0.0.10"), Ok(()));
    }

    proptest! {
        #[test]
        fn every_address_is_allocated_once(length in 24_u8..=30, gateway in 1_u32..3, released in prop::collection::vec(0_usize..60, 0..20)) {
            let prefix = IpNet::new(ip("10.1.2.0"), length).unwrap_or_else(|error| panic!("{error}"));
            let gateway = address(0x0a01_0200 + u128::from(gateway), prefix.addr());
            let mut addresses = Addresses::new(prefix, gateway, None);
            let usable: BTreeSet<_> = prefix.hosts().filter(|host| *host != gateway).collect();
            let mut allocated = BTreeSet::new();
            while let Some(next) = addresses.next() {
                prop_assert!(allocated.insert(next), "{next} twice");
                addresses.take(next);
            }
            prop_assert_eq!(&allocated, &usable);
            let freed: BTreeSet<_> = released.iter().filter_map(|index| usable.iter().nth(*index).copied()).collect();
            for ip in &freed {
                addresses.release(*ip);
            }
            let mut reallocated = BTreeSet::new();
            while let Some(next) = addresses.next() {
                addresses.take(next);
                reallocated.insert(next);
            }
            prop_assert_eq!(reallocated, freed);
        }
    }
}
