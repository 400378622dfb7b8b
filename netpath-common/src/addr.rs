//! Addresses and ports in network byte order.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::layout::layout;

/// The address family of a packet or address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    #[default]
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

layout! {
    /// An IPv4 or IPv6 address: 16 bytes in network order, IPv4 in v4-mapped form (RFC 4291 §2.5.5.2).
    ///
    /// Because both families have one form, one map and one program serve both. Both words are kept in memory order, so
    /// copying and comparing need no byte swap.
    #[derive(Clone, Copy, Default)]
    pub struct Addr(16) {
        high: u64,
        low: u64,
    }
}

impl Addr {
    /// The unspecified IPv6 address `::`.
    pub const UNSPECIFIED: Self = Self { high: 0, low: 0 };

    /// From the 16 bytes of an IPv6 header field, as two words in memory order.
    #[inline(always)]
    pub const fn from_raw(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// From the 4 bytes of an IPv4 header field, as one word in memory order.
    #[inline(always)]
    pub const fn from_raw_v4(word: u32) -> Self {
        let mapped = 0xffff_u32.to_be();
        if cfg!(target_endian = "little") {
            Self {
                high: 0,
                low: (mapped as u64) | ((word as u64) << 32),
            }
        } else {
            Self {
                high: 0,
                low: ((mapped as u64) << 32) | word as u64,
            }
        }
    }

    /// The four IPv4 bytes as a word in memory order; meaningful only if [`Self::is_v4`].
    #[inline(always)]
    pub const fn raw_v4(self) -> u32 {
        if cfg!(target_endian = "little") {
            (self.low >> 32) as u32
        } else {
            self.low as u32
        }
    }

    /// The 16 bytes as two words in memory order.
    #[inline(always)]
    pub const fn raw(self) -> (u64, u64) {
        (self.high, self.low)
    }

    /// The 16 bytes as four words in memory order.
    #[inline(always)]
    pub const fn raw_words(self) -> [u32; 4] {
        if cfg!(target_endian = "little") {
            [
                self.high as u32,
                (self.high >> 32) as u32,
                self.low as u32,
                (self.low >> 32) as u32,
            ]
        } else {
            [
                (self.high >> 32) as u32,
                self.high as u32,
                (self.low >> 32) as u32,
                self.low as u32,
            ]
        }
    }

    /// From four words in memory order, the form of the kernel's structures.
    #[inline(always)]
    pub const fn from_raw_words(words: [u32; 4]) -> Self {
        let [a, b, c, d] = words;
        if cfg!(target_endian = "little") {
            Self::from_raw(
                (a as u64) | ((b as u64) << 32),
                (c as u64) | ((d as u64) << 32),
            )
        } else {
            Self::from_raw(((a as u64) << 32) | b as u64, ((c as u64) << 32) | d as u64)
        }
    }

    /// The family of the address.
    #[inline(always)]
    pub const fn family(self) -> Family {
        if self.is_v4() { Family::V4 } else { Family::V6 }
    }

    /// Whether this is an IPv4 address in v4-mapped form.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        let mapped = 0xffff_u32.to_be();
        let prefix = if cfg!(target_endian = "little") {
            self.low as u32
        } else {
            (self.low >> 32) as u32
        };
        self.high == 0 && prefix == mapped
    }

    /// Whether this is 127.0.0.0/8 or `::1`.
    #[inline(always)]
    pub fn is_loopback(self) -> bool {
        if self.is_v4() {
            (self.raw_v4().to_be() >> 24) == 127
        } else {
            self.high == 0 && self.low == 1_u64.to_be()
        }
    }

    /// Whether this is `0.0.0.0` or `::`.
    #[inline(always)]
    pub fn is_unspecified(self) -> bool {
        if self.is_v4() {
            self.raw_v4() == 0
        } else {
            self.high == 0 && self.low == 0
        }
    }

    /// Whether this is 224.0.0.0/4, 255.255.255.255 or ff00::/8.
    #[inline(always)]
    pub fn is_multicast_or_broadcast(self) -> bool {
        if self.is_v4() {
            (self.raw_v4().to_be() >> 28) >= 0xe
        } else {
            (self.high.to_be() >> 56) == 0xff
        }
    }

    /// Whether this is fe80::/10. IPv4's 169.254.0.0/16 is treated like any other prefix.
    #[inline(always)]
    pub fn is_link_local(self) -> bool {
        (self.high.to_be() >> 54) == 0x3fa
    }

    /// Whether this is 169.254.0.0/16 (RFC 3927).
    #[inline(always)]
    pub fn is_v4_link_local(self) -> bool {
        self.is_v4() && self.raw_v4().to_be() >> 16 == 0xa9fe
    }

    /// Whether this is an IPv6 address whose interface identifier has the EUI-64 form: that of identifiers that are derived
    /// from MAC addresses (RFC 4291, appendix A).
    #[inline(always)]
    pub fn has_mac_identifier(self) -> bool {
        (self.low.to_be() >> 24) & 0xffff == 0xfffe
    }

    /// The link-local address that is derived from a MAC address (RFC 4291, appendix A).
    #[inline(always)]
    pub const fn link_local_of(mac: &MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self {
            high: u64::from_ne_bytes([0xfe, 0x80, 0, 0, 0, 0, 0, 0]),
            low: u64::from_ne_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]),
        }
    }

    /// The 16 bytes in network order.
    pub const fn octets(self) -> [u8; 16] {
        let high = self.high.to_ne_bytes();
        let low = self.low.to_ne_bytes();
        [
            high[0], high[1], high[2], high[3], high[4], high[5], high[6], high[7], low[0], low[1],
            low[2], low[3], low[4], low[5], low[6], low[7],
        ]
    }

    /// From 16 bytes in network order.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            high: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            low: u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    /// The address as the standard library's type; a v4-mapped one becomes [`IpAddr::V4`].
    pub fn ip(self) -> IpAddr {
        if self.is_v4() {
            IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(self.raw_v4())))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.octets()))
        }
    }
}

impl PartialEq for Addr {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        ((self.high ^ other.high) | (self.low ^ other.low)) == 0
    }
}

impl Eq for Addr {}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_octets(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self::from_octets(v6.octets()),
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

/// A 16-bit field of a packet in network order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// From a host-order number.
    #[inline(always)]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be())
    }

    /// From a word in memory order.
    #[inline(always)]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The word in memory order.
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A MAC address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The MAC address of an endpoint of an overlay network with this address: `02:42` and an IPv4 address, or `02:43` and the last
    /// four bytes of an IPv6 address.
    #[inline(always)]
    pub const fn of_address(address: Addr) -> Self {
        let [a, b, c, d] = if cfg!(target_endian = "little") {
            (address.raw().1 >> 32) as u32
        } else {
            address.raw().1 as u32
        }
        .to_ne_bytes();
        let second = if address.is_v4() { 0x42 } else { 0x43 };
        Self([0x02, second, a, b, c, d])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn address_class_is_recognised() {
        let addr = |text: &str| Addr::from(text.parse::<IpAddr>().expect("address"));
        assert!(addr("127.8.0.1").is_loopback() && addr("::1").is_loopback());
        assert!(!addr("10.0.0.1").is_loopback() && !addr("fe80::1").is_loopback());
        assert!(addr("0.0.0.0").is_unspecified() && addr("::").is_unspecified());
        assert!(
            addr("224.0.0.1").is_multicast_or_broadcast()
                && addr("255.255.255.255").is_multicast_or_broadcast()
        );
        assert!(
            addr("ff02::1").is_multicast_or_broadcast()
                && !addr("fe80::1").is_multicast_or_broadcast()
        );
        assert!(!addr("169.254.1.1").is_link_local() && addr("fe80::1").is_link_local());
        assert!(addr("169.254.1.1").is_v4_link_local() && !addr("169.253.1.1").is_v4_link_local());
        assert!(!addr("fe80::a9fe:101").is_v4_link_local());
        let mac = MacAddr([2, 0, 0, 0, 1, 0xff]);
        assert_eq!(Addr::link_local_of(&mac), addr("fe80::ff:fe00:1ff"));
        assert!(addr("fe80::ff:fe00:1ff").has_mac_identifier());
        assert!(!addr("fe80::1").has_mac_identifier());
        assert!(addr("febf::1").is_link_local() && !addr("fec0::1").is_link_local());
    }

    #[test]
    fn mac_address_follows_from_the_last_four_bytes_of_an_address() {
        let mac =
            |text: &str| MacAddr::of_address(Addr::from(text.parse::<IpAddr>().expect("address")));
        assert_eq!(mac("10.1.2.3"), MacAddr([2, 0x42, 10, 1, 2, 3]));
        assert_eq!(mac("fd00::102:304"), MacAddr([2, 0x43, 1, 2, 3, 4]));
    }

    proptest! {
        #[test]
        fn ipv4_round_trips_through_mapped_form(bits: u32) {
            let ip = Ipv4Addr::from(bits);
            let addr = Addr::from(IpAddr::V4(ip));
            prop_assert!(addr.is_v4());
            prop_assert_eq!(addr.ip(), IpAddr::V4(ip));
            prop_assert_eq!(addr, Addr::from_raw_v4(u32::from_ne_bytes(ip.octets())));
        }

        #[test]
        fn raw_words_match_octets(bits: u128) {
            let addr = Addr::from(IpAddr::V6(Ipv6Addr::from(bits)));
            let mut octets = [0; 16];
            for (word, bytes) in addr.raw_words().iter().zip(octets.chunks_exact_mut(4)) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            prop_assert_eq!(octets, bits.to_be_bytes());
            prop_assert_eq!(Addr::from_raw_words(addr.raw_words()), addr);
        }
    }
}
