//! Into a sandbox.

use aya_ebpf::helpers::generated::bpf_redirect_peer;
use netpath_common::{
    flow::{Half, REWRITE_DST, REWRITE_SRC},
    maps::Endpoint,
    reason::Reason,
};

use crate::{conntrack, packet::skb::Skb, parse::Parsed, rewrite};

/// Gives a packet of a flow its translation and delivers it to `endpoint` as its gateway would.
#[inline(never)]
pub fn translated(
    skb: &mut Skb,
    parsed: &Parsed,
    half: *mut Half,
    endpoint: &Endpoint,
    reason: Reason,
) -> Reason {
    if parsed.ttl <= 1 {
        return Reason::TtlExceeded;
    }
    conntrack::touch(half, skb, parsed);
    // SAFETY: a map value, alive while the program runs; `to` and `flags` never change.
    let (to, flags) = unsafe { (&(*half).to, (*half).flags) };
    if rewrite::decrement_ttl(skb, parsed).is_none()
        || rewrite::set_macs(skb, &endpoint.mac, &endpoint.gateway_mac).is_none()
    {
        return Reason::WriteFailed;
    }
    if flags & (REWRITE_SRC | REWRITE_DST) != 0
        && rewrite::translate(skb, parsed, to, flags).is_none()
    {
        return Reason::WriteFailed;
    }
    redirect(skb, endpoint);
    reason
}

/// Delivers a frame inside a network as its bridge would: nothing but the receiver's MAC address can differ.
#[inline(always)]
pub fn bridged(skb: &mut Skb, endpoint: &Endpoint) -> Reason {
    use crate::packet::Packet;
    let Some(destination) = skb.header_mut::<[u8; 6]>(0) else {
        return Reason::Malformed;
    };
    *destination = endpoint.mac.0;
    redirect(skb, endpoint);
    Reason::Sibling
}

#[inline(always)]
fn redirect(skb: &Skb, endpoint: &Endpoint) {
    // A frame that was not addressed to the host's end of the veth counts as another host's. Linux 6.15 forgets that on
    // the way into the other namespace, older kernels drop it there.
    skb.set_for_this_host();
    // SAFETY: plain helper call. It only notes the device; with flags of zero it cannot fail, and the device is
    // looked up when the program has returned `TCX_REDIRECT`.
    unsafe {
        bpf_redirect_peer(endpoint.ifindex, 0);
    }
}
