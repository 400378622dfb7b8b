//! Sending a copy of a packet.

use aya_ebpf::{bindings::BPF_F_INGRESS, helpers::generated::bpf_clone_redirect};
use netpath_common::hook::Hook;

use crate::packet::skb::Skb;

/// Sends a copy of the packet through `hook` of the device that it passes now. `false` if the kernel refused the copy, or,
/// at an egress hook, dropped it later.
#[inline(always)]
pub fn clone_redirect(skb: &Skb, hook: Hook) -> bool {
    let flags = if hook.is_ingress() {
        BPF_F_INGRESS as u64
    } else {
        0
    };
    // SAFETY: plain helper call on the program's own context.
    unsafe { bpf_clone_redirect(skb.as_ptr(), skb.ifindex(), flags) == 0 }
}
