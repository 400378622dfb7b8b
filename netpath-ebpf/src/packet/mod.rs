//! Bounds-checked access to a packet.
//!
//! The verifier permits a load from a packet only after the pointer was compared with the packet's end, and forgets the
//! comparison when a helper may have moved the packet. [`Packet`] expresses both rules as types: a header is a reference
//! that was just compared, and every function that may move the packet takes `&mut self`, so references end before it.
//! Code that parses and rewrites is written once for the trait. It runs in the kernel on `skb::Skb` and `frame::Frame`, and in host tests on
//! [`slice::Slice`].

#[cfg(target_arch = "bpf")]
pub mod frame;
#[cfg(all(test, not(target_arch = "bpf")))]
mod host;
#[cfg(target_arch = "bpf")]
pub mod skb;
#[cfg(all(test, not(target_arch = "bpf")))]
pub mod skb {
    //! The packet of host tests, in place of a socket buffer.
    pub use super::host::Skb;
}
pub mod slice;

use netpath_common::checksum::Diff;
use network_types::{
    arp::ArpHdr,
    icmp::Icmpv6Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

/// A type that may be read from packet bytes in place.
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

/// The VLAN identifier in a VLAN tag (IEEE 802.1Q). 0 is a priority tag: the frame belongs to no VLAN.
pub const VLAN_ID: u16 = 0x0fff;

headers!(
    u8, [u8; 2], [u8; 4], [u8; 6], [u8; 8], [u8; 12], [u8; 14], [u8; 16], [u8; 128], Ipv4Hdr,
    Ipv6Hdr, TcpHdr, UdpHdr, Icmpv6Hdr, ArpHdr
);

/// What a change affects that a transport checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// The transport header or payload: ports, and all of ICMPv4.
    Payload,
    /// The pseudo-header of IPv4.
    PseudoV4,
    /// The pseudo-header of IPv6.
    PseudoV6,
}

/// A packet in memory, from its link header.
pub trait Packet {
    /// Bytes of the whole packet, including those outside the linear part.
    fn len(&self) -> usize;

    /// The header at `offset`; `None` if it is not in the linear part.
    fn header<T: Header>(&self, offset: usize) -> Option<&T>;

    /// The header at `offset`, for writing; `None` if it is not in the linear part.
    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T>;

    /// Updates the transport checksum at `offset` for the change `diff`. `None` if it cannot be written.
    ///
    /// No other function changes a transport checksum: how it changes depends on whether hardware or the stack completes it.
    /// With `udp`, a checksum of zero stays zero: the datagram has no checksum (RFC 768).
    fn update_checksum(
        &mut self,
        offset: usize,
        diff: Diff,
        covers: Covers,
        udp: bool,
    ) -> Option<()>;

    /// Whether the packet has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
