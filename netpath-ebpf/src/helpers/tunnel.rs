//! Room for the headers of tunnel packets.

use aya_ebpf::{
    bindings::{
        BPF_ADJ_ROOM_ENCAP_L2_SHIFT, BPF_F_ADJ_ROOM_ENCAP_L2_ETH, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
        BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::generated::{
        bpf_csum_diff, bpf_skb_adjust_room, bpf_skb_change_proto, bpf_skb_change_tail,
    },
};
use netpath_common::addr::Family;

use crate::{
    packet::skb::Skb,
    parse::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6},
};

/// Bytes by which an IPv6 header is longer than an IPv4 header.
const FAMILY_DIFFERENCE: i32 = 20;

/// Inserts `length` bytes between the Ethernet header and the network header, for the headers of a tunnel packet of this family
/// with an Ethernet frame inside. Segments of a GSO packet keep their size and get these headers too. `false` if the kernel
/// refused.
#[inline(always)]
pub fn add_tunnel_room(skb: &mut Skb, family: Family, length: usize) -> bool {
    let network = match family {
        Family::V4 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
        Family::V6 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
    };
    let flags = network
        | BPF_F_ADJ_ROOM_ENCAP_L4_UDP
        | BPF_F_ADJ_ROOM_ENCAP_L2_ETH
        | BPF_F_ADJ_ROOM_FIXED_GSO;
    let flags = flags as u64 | (ETHERNET as u64) << BPF_ADJ_ROOM_ENCAP_L2_SHIFT;
    // SAFETY: plain helper call; no reference into the packet exists, because `skb` is borrowed mutably.
    unsafe { bpf_skb_adjust_room(skb.as_ptr(), length as i32, BPF_ADJ_ROOM_MAC, flags) == 0 }
}

/// Inserts `length` bytes between the Ethernet header and the network header. `false` if the kernel refused.
#[inline(always)]
pub fn add_room(skb: &mut Skb, length: usize) -> bool {
    // SAFETY: as in `add_tunnel_room`.
    unsafe { bpf_skb_adjust_room(skb.as_ptr(), length as i32, BPF_ADJ_ROOM_MAC, 0) == 0 }
}

/// Shortens the packet to `length` bytes; a GSO packet becomes a single one. `false` if the kernel refused.
#[inline(always)]
pub fn truncate(skb: &mut Skb, length: usize) -> bool {
    // SAFETY: as in `add_tunnel_room`.
    unsafe { bpf_skb_change_tail(skb.as_ptr(), length as u32, 0) == 0 }
}

/// The ones'-complement sum of the words of `bytes`, folded to 32 bits.
#[inline(always)]
pub fn sum_of<const N: usize>(bytes: &[u8; N]) -> u32 {
    let start: *const [u8; N] = bytes;
    // SAFETY: the helper reads `N` bytes, and a length that is a multiple of four is valid.
    let sum = unsafe {
        bpf_csum_diff(
            core::ptr::null_mut(),
            0,
            start.cast_mut().cast(),
            N as u32,
            0,
        )
    };
    sum as u32
}

/// Removes `length` bytes behind the link header: the headers of a tunnel packet of the family `outer`, and the Ethernet header
/// of the packet inside, which has the family `inner`. `false` if the kernel refused; the packet is then unusable.
///
/// The helper does not change the family of the packet before Linux 6.3, which has flags for that. The conversion of the packet to
/// the other family does, on every kernel, and changes the length of the network header, which is removed.
#[inline(always)]
pub fn remove_tunnel_headers(skb: &mut Skb, outer: Family, inner: Family, length: usize) -> bool {
    let mut length = length as i32;
    let flags = BPF_F_ADJ_ROOM_FIXED_GSO as u64;
    // SAFETY: as in `add_tunnel_room`.
    unsafe {
        if outer != inner {
            let (ethertype, difference) = match inner {
                Family::V4 => (ETHERTYPE_IPV4, -FAMILY_DIFFERENCE),
                Family::V6 => (ETHERTYPE_IPV6, FAMILY_DIFFERENCE),
            };
            if bpf_skb_change_proto(skb.as_ptr(), ethertype.to_be(), 0) != 0 {
                return false;
            }
            length += difference;
        }
        bpf_skb_adjust_room(skb.as_ptr(), -length, BPF_ADJ_ROOM_MAC, flags) == 0
    }
}
