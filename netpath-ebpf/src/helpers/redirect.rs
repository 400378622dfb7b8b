//! Sending a packet to another device.

use aya_ebpf::{
    bindings::{bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1},
    helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer},
};

use netpath_common::maps::NextHop;

use crate::packet::skb::Skb;

/// Sends the packet into the network namespace of the peer of the veth device `ifindex`, when the program has returned
/// `TCX_REDIRECT`. At ingress hooks only.
#[inline(always)]
pub fn redirect_to_peer(skb: &Skb, ifindex: u32) {
    // A frame whose destination is not the MAC address of the receiving device has the packet type "other host", and the
    // receiver drops it. Linux 6.15 resets the type when the frame enters the other namespace (kernel commit
    // c4327229948879814229b46aa26a), older kernels do not. No kernel resets the mark.
    skb.set_for_this_host();
    skb.clear_mark();
    // SAFETY: plain helper call. It records the device; with flags of zero it cannot fail.
    unsafe {
        bpf_redirect_peer(ifindex, 0);
    }
}

/// Sends the packet through the queueing discipline of the device `ifindex`, when the program has returned `TCX_REDIRECT`.
#[inline(always)]
pub fn redirect_to_device(skb: &Skb, ifindex: u32) {
    skb.clear_mark();
    // SAFETY: plain helper call. It records the device; with flags of zero it cannot fail.
    unsafe {
        bpf_redirect(ifindex, 0);
    }
}

/// Sends the packet to a next hop, whose link address the kernel resolves, when the program has returned `TCX_REDIRECT`.
#[inline(always)]
pub fn redirect_to_neighbour(_skb: &Skb, hop: &NextHop) {
    let mut parameters = bpf_redir_neigh {
        nh_family: hop.family,
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
            ipv6_nh: hop.address,
        },
    };
    // SAFETY: `parameters` is a whole structure on the stack.
    unsafe {
        bpf_redirect_neigh(
            hop.ifindex,
            &raw mut parameters,
            size_of::<bpf_redir_neigh>() as i32,
            0,
        );
    }
}
