//! A packet in the memory of a driver.

use core::arch::asm;

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_xdp_get_buff_len};
use netpath_common::checksum::Diff;

use super::{Covers, Header, Packet};

/// Largest offset of a header, as in `skb`.
const MAX_OFFSET: usize = 0x3ff;

/// The packet of an XDP program, which does not change it.
pub struct Frame {
    context: *mut xdp_md,
}

impl Frame {
    /// Wraps the context of an XDP program.
    #[inline(always)]
    pub const fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    /// The pointer for helpers.
    #[inline(always)]
    pub const fn as_ptr(&self) -> *mut xdp_md {
        self.context
    }

    /// Interface that received the packet.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the kernel passes a valid context, and the verifier turns each field access into a checked load.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn locate<T: Header>(&self, offset: usize) -> Option<*mut T> {
        // SAFETY: as in `ifindex`.
        let (start, end) = unsafe {
            (
                (*self.context).data as usize,
                (*self.context).data_end as usize,
            )
        };
        let mut start = start + (offset & MAX_OFFSET);
        // SAFETY: copies a register to itself; see `Skb`.
        unsafe {
            asm!("{0} = {0}", inout(reg) start, options(pure, nomem, nostack, preserves_flags));
        }
        if start + size_of::<T>() > end {
            None
        } else {
            Some(start as *mut T)
        }
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: plain helper call (Linux 5.18) on the program's own context.
        unsafe { bpf_xdp_get_buff_len(self.context) as usize }
    }

    #[inline(always)]
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        // SAFETY: `locate` compared the end of the header with the end of the packet, and nothing moves the packet. `Header`
        // allows any bit pattern at any address.
        self.locate(offset).map(|header| unsafe { &*header })
    }

    #[inline(always)]
    fn header_mut<T: Header>(&mut self, _offset: usize) -> Option<&mut T> {
        None
    }

    #[inline(always)]
    fn update_checksum(
        &mut self,
        _offset: usize,
        _diff: Diff,
        _covers: Covers,
        _udp: bool,
    ) -> Option<()> {
        None
    }
}
