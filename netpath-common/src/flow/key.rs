//! The tuple of a packet.

use crate::{
    addr::{Addr, Be16},
    layout::layout,
};

/// IPPROTO_ICMP.
pub const ICMP: u8 = 1;
/// IPPROTO_TCP.
pub const TCP: u8 = 6;
/// IPPROTO_UDP.
pub const UDP: u8 = 17;
/// IPPROTO_ICMPV6.
pub const ICMPV6: u8 = 58;
/// IPPROTO_SCTP.
pub const SCTP: u8 = 132;

layout! {
    /// The addresses, ports and protocol of a packet.
    ///
    /// For an ICMP echo request the identifier is the source port and the destination port is 0. For an echo reply the
    /// identifier is the destination port and the source port is 0. So the reversed tuple of a request is the tuple of
    /// its reply.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct FlowKey(40) {
        /// Source address.
        pub src: Addr,
        /// Destination address.
        pub dst: Addr,
        /// Source port or echo identifier.
        pub sport: Be16,
        /// Destination port.
        pub dport: Be16,
        /// Number of the transport protocol.
        pub protocol: u8,
        /// Padding, always zero.
        pub pad: u8,
        /// Padding, always zero. Separate from `pad`, because the BPF target clears an array of three bytes in a loop.
        pub pad2: u16,
    }
}

impl FlowKey {
    /// The tuple of packets in the other direction.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            protocol: self.protocol,
            pad: 0,
            pad2: 0,
        }
    }

    /// Copies `from` field by field, because the BPF target copies a whole structure byte by byte.
    #[inline(always)]
    pub fn copy_from(&mut self, from: &Self) {
        self.src = from.src;
        self.dst = from.dst;
        self.sport = from.sport;
        self.dport = from.dport;
        self.protocol = from.protocol;
        self.pad = 0;
        self.pad2 = 0;
    }

    /// Copies the reverse of `from` field by field.
    #[inline(always)]
    pub fn copy_reversed(&mut self, from: &Self) {
        self.src = from.dst;
        self.dst = from.src;
        self.sport = from.dport;
        self.dport = from.sport;
        self.protocol = from.protocol;
        self.pad = 0;
        self.pad2 = 0;
    }
}

impl PartialEq for FlowKey {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.src == other.src
            && self.dst == other.dst
            && self.sport == other.sport
            && self.dport == other.dport
            && self.protocol == other.protocol
    }
}

impl Eq for FlowKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuple_reversed_twice_is_unchanged() {
        let key = FlowKey {
            src: Addr::from_raw_v4(1),
            dst: Addr::from_raw_v4(2),
            sport: Be16::new(3),
            dport: Be16::new(4),
            protocol: TCP,
            pad: 0,
            pad2: 0,
        };
        assert!(key.reversed() != key);
        assert!(key.reversed().reversed() == key);
        let mut copy = FlowKey::default();
        copy.copy_from(&key);
        assert!(copy == key);
        copy.copy_reversed(&key);
        assert!(copy == key.reversed());
    }
}
