//! A packet in a socket buffer.

use core::arch::asm;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::generated::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_skb_change_head, bpf_skb_change_type,
        bpf_skb_pull_data, bpf_skb_vlan_pop,
    },
};
use netpath_common::checksum::Diff;

use super::{Covers, Header, Packet, VLAN_ID};
use crate::maps;

/// Largest offset of a header: a power of two minus one. As a mask it proves to the verifier that the sum of packet start
/// and offset does not overflow.
const MAX_OFFSET: usize = 0x3ff;

/// Bytes that are made linear if a header is outside the linear part: Ethernet, network, transport and ICMP header, and the
/// network and transport header of a packet that an ICMP error quotes.
const LINEAR: u32 = 14 + 60 + 60 + 8 + 60 + 60;

/// Addressed to this host (linux/if_packet.h).
const PACKET_HOST: u32 = 0;

/// The socket buffer of a TC program.
pub struct Skb {
    context: *mut __sk_buff,
}

impl Skb {
    /// Wraps the context of a TC program.
    #[inline(always)]
    pub const fn new(context: *mut __sk_buff) -> Self {
        Self { context }
    }

    /// The pointer for helpers.
    #[inline(always)]
    pub const fn as_ptr(&self) -> *mut __sk_buff {
        self.context
    }

    /// Interface the program is attached to.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the kernel passes a valid context, and the verifier turns each field access into a checked load.
        unsafe { (*self.context).ifindex }
    }

    /// Interface that received the packet; 0 if this namespace sends it.
    #[inline(always)]
    pub fn ingress_ifindex(&self) -> u32 {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context).ingress_ifindex }
    }

    /// The packet's mark.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context).mark }
    }

    /// Clears the packet's mark, which has no meaning in another network namespace.
    #[inline(always)]
    pub fn clear_mark(&self) {
        // SAFETY: as in `ifindex`; TC programs may write this field.
        unsafe {
            (*self.context).mark = 0;
        }
    }

    /// Stores a number with the packet, which the next program at an egress hook reads by [`Skb::take_note`]. Only TC programs
    /// write this memory before the packet reaches that hook.
    #[inline(always)]
    pub fn note(&self, number: u64) {
        // SAFETY: as in `ifindex`; TC programs may write this field.
        unsafe {
            (*self.context).cb[0] = number as u32;
            (*self.context).cb[1] = (number >> 32) as u32;
        }
    }

    /// Stores the secret of the node with the packet, as [`Skb::note`].
    #[inline(always)]
    pub fn note_secret(&self) {
        note_secret(Self::new(self.context));
    }

    /// Whether this number, which is not 0, was stored with the packet. Then it is erased.
    #[inline(always)]
    pub fn take_note(&self, number: u64) -> bool {
        // SAFETY: as in `note`.
        unsafe {
            let is_noted = number != 0
                && (*self.context).cb[0] == number as u32
                && (*self.context).cb[1] == (number >> 32) as u32;
            if is_noted {
                (*self.context).cb[0] = 0;
                (*self.context).cb[1] = 0;
            }
            is_noted
        }
    }

    /// Marks the packet as addressed to the host that receives it next.
    #[inline(always)]
    pub fn set_for_this_host(&self) {
        // SAFETY: as in `ifindex`; the type is a valid argument of the helper.
        unsafe {
            if (*self.context).pkt_type != PACKET_HOST {
                bpf_skb_change_type(self.context, PACKET_HOST);
            }
        }
    }

    /// Whether the frame is addressed to this host.
    #[inline(always)]
    pub fn is_for_this_host(&self) -> bool {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context).pkt_type == PACKET_HOST }
    }

    /// Whether the packet has a VLAN tag in its metadata.
    #[inline(always)]
    pub fn is_tagged(&self) -> bool {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context).vlan_present != 0 }
    }

    /// The identifier of the VLAN tag in the packet's metadata; `None` if it has no tag there.
    #[inline(always)]
    pub fn vlan(&self) -> Option<u16> {
        if !self.is_tagged() {
            return None;
        }
        // SAFETY: as in `ifindex`.
        Some(unsafe { (*self.context).vlan_tci } as u16 & VLAN_ID)
    }

    /// Removes the outermost VLAN tag. A tag that follows it in the bytes of the packet moves to the metadata. `false` if the
    /// kernel refused.
    #[inline(always)]
    pub fn remove_tag(&mut self) -> bool {
        // SAFETY: plain helper call; no reference into the packet exists, because `self` is borrowed mutably.
        unsafe { bpf_skb_vlan_pop(self.context) == 0 }
    }

    /// The type of the network packet, as an ethertype. The driver of a device without a link header sets it.
    #[inline(always)]
    pub fn ethertype(&self) -> u16 {
        // SAFETY: as in `ifindex`.
        let protocol = unsafe { (*self.context).protocol };
        u16::from_be(protocol as u16)
    }

    /// Adds a link header of `length` zeros in front of a packet that has none. `false` if the kernel refused.
    #[inline(always)]
    pub fn push_link_header(&mut self, length: usize) -> bool {
        // SAFETY: plain helper call; no reference into the packet exists, because `self` is borrowed mutably.
        unsafe { bpf_skb_change_head(self.context, length as u32, 0) == 0 }
    }

    /// Number of packets on the wire: the segments of a GSO packet, otherwise 1.
    #[inline(always)]
    pub fn segments(&self) -> u64 {
        // SAFETY: as in `ifindex`.
        let segments = unsafe { (*self.context).gso_segs };
        if segments == 0 { 1 } else { segments as u64 }
    }

    /// Payload bytes of each segment of a GSO packet; 0 for another packet.
    #[inline(always)]
    pub fn segment_size(&self) -> usize {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context).gso_size as usize }
    }

    /// Makes the headers of the packet linear. `false` if they are linear already or the kernel refused.
    #[inline(always)]
    pub fn linearize(&mut self) -> bool {
        let length = self.len() as u32;
        let wanted = if length < LINEAR { length } else { LINEAR };
        if self.start() + wanted as usize <= self.end() {
            return false;
        }
        // SAFETY: plain helper call; no reference into the packet exists, because `self` is borrowed mutably.
        unsafe { bpf_skb_pull_data(self.context, wanted) == 0 }
    }

    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context).data as usize }
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context).data_end as usize }
    }

    #[inline(always)]
    fn locate<T: Header>(&self, offset: usize) -> Option<*mut T> {
        let mut start = self.start() + (offset & MAX_OFFSET);
        // Otherwise the compiler derives the bounds of one header from the comparison of another one, which the verifier does
        // not accept. The instruction makes it compare each pointer.
        // SAFETY: copies a register to itself. With an empty template, one instruction would have two line records, which
        // the kernel rejects.
        unsafe {
            asm!("{0} = {0}", inout(reg) start, options(pure, nomem, nostack, preserves_flags));
        }
        if start + size_of::<T>() > self.end() {
            None
        } else {
            Some(start as *mut T)
        }
    }
}

/// A function of its own, because its callers have little stack left.
#[inline(never)]
fn note_secret(skb: Skb) {
    if let Some(config) = maps::config() {
        skb.note(config.secret);
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context).len as usize }
    }

    #[inline(always)]
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        // SAFETY: `locate` compared the end of the header with the end of the packet; functions that move the packet take
        // `&mut self`, so the reference has ended by then. `Header` allows any bit pattern at any address.
        self.locate(offset).map(|header| unsafe { &*header })
    }

    #[inline(always)]
    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        // SAFETY: as in `header`. The kernel makes the headers writable before the program runs.
        self.locate(offset).map(|header| unsafe { &mut *header })
    }

    #[inline(always)]
    fn update_checksum(
        &mut self,
        offset: usize,
        diff: Diff,
        covers: Covers,
        udp: bool,
    ) -> Option<()> {
        let mut flags = if udp { BPF_F_MARK_MANGLED_0 as u64 } else { 0 };
        let mut undo = false;
        match covers {
            Covers::Payload => {}
            Covers::PseudoV4 => flags |= BPF_F_PSEUDO_HDR as u64,
            // Without `BPF_F_IPV6` the helper applies the address change to the checksum of the whole packet, whose bytes
            // include it already. In IPv4 the change of the header checksum cancels it; IPv6 has none.
            Covers::PseudoV6 => {
                let known = maps::config()?.checksum_v6_flag as u64;
                flags |= BPF_F_PSEUDO_HDR as u64 | known;
                undo = known == 0;
            }
        }
        let change = diff.folded();
        // SAFETY: plain helper calls on the program's own context. The second one fails unless the device has supplied a
        // checksum of the whole packet; without it there is nothing to correct.
        let result = unsafe {
            let result = bpf_l4_csum_replace(self.context, offset as u32, 0, change as u64, flags);
            if undo {
                bpf_csum_update(self.context, change);
            }
            result
        };
        if result == 0 { Some(()) } else { None }
    }
}
