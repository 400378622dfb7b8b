//! Bounds-checked access to a packet: the one thing the verifier and the borrow checker must agree on.
//!
//! The verifier allows a load from a packet only after the very pointer it uses was compared with the packet's end, and
//! forgets every such comparison when a helper may have moved the packet. [`Packet`] turns both rules into types: a
//! header is handed out as a reference that was just compared, and everything that may move the packet takes
//! `&mut self`, so no reference can outlive it. Code that parses and rewrites is written once against the trait and
//! runs in the kernel over `skb::Skb` and in host tests over [`slice::Slice`].

#[cfg(target_arch = "bpf")]
pub mod skb;
pub mod slice;

use netpath_common::checksum::Diff;
use network_types::{
    arp::ArpHdr,
    icmp::Icmpv6Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

/// A piece of a packet that may be looked at in place.
///
/// # Safety
/// The type has alignment 1, no padding, and every bit pattern is a value.
pub unsafe trait Header: Copy {}

macro_rules! headers {
    ($($type:ty),+ $(,)?) => {
        $(
            const _: () = assert!(core::mem::align_of::<$type>() == 1);
            // SAFETY: made of bytes and byte arrays only, in `repr(C)`; the alignment is asserted above.
            unsafe impl Header for $type {}
        )+
    };
}

headers!(
    u8, [u8; 2], [u8; 4], [u8; 6], [u8; 12], [u8; 16], Ipv4Hdr, Ipv6Hdr, TcpHdr, UdpHdr, Icmpv6Hdr,
    ArpHdr
);

/// What a transport checksum covers beside the transport's own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Its own bytes only: ports, and all of ICMPv4.
    Payload,
    /// The pseudo-header of IPv4.
    PseudoV4,
    /// The pseudo-header of IPv6.
    PseudoV6,
}

/// A packet in memory, from its Ethernet header on.
pub trait Packet {
    /// Bytes of the whole packet, those outside the linear part included.
    fn len(&self) -> usize;

    /// The header at `offset`; `None` if it does not lie in the linear part.
    fn header<T: Header>(&self, offset: usize) -> Option<&T>;

    /// The header at `offset`, to be changed; `None` if it does not lie in the linear part.
    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T>;

    /// Changes the transport checksum at `offset` by `diff`.
    ///
    /// The only way a transport checksum may change: it depends on who will finish it (hardware, the stack, nobody).
    /// `udp` keeps a checksum of zero, which says that there is none (RFC 768).
    fn update_checksum(
        &mut self,
        offset: usize,
        diff: Diff,
        covers: Covers,
        udp: bool,
    ) -> Option<()>;

    /// Whether it holds no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
