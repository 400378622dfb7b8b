//! The deny list in XDP, where a dropped packet costs least.
//!
//! A packet is dropped only if the program at the ingress hook would drop it because of the deny list. What needs more than the
//! flow and the published ports is left to that program: fragments, ICMP errors, SYNs on existing flows, new flows to sandboxes of
//! `routed` networks, frames of VLANs, and new flows while there are connections of the node whose source port was changed.

use netpath_common::{
    flow::TCP,
    maps::{AddressOwner, Config},
};

use crate::{
    conntrack, helpers,
    maps::{self, PerCpuArray, map},
    nat::publish,
    packet::frame::Frame,
    parse::{self, Parsed, Transport},
};

/// Memory in addition to the stack; one for each CPU. The kernel runs no XDP program inside another one.
#[map(name = "frame")]
static FRAME: PerCpuArray<Parsed> = PerCpuArray::with_max_entries(1, 0);

/// Whether a packet is dropped.
#[inline(always)]
pub fn is_denied(frame: &Frame) -> bool {
    let (Some(config), Some(parsed)) = (maps::config(), FRAME.get_ptr_mut(0)) else {
        return false;
    };
    if config.denied == 0 {
        return false;
    }
    // SAFETY: only this program uses this CPU's entry. All-zero bytes are a valid value.
    let parsed = unsafe { &mut *parsed };
    if parse::parse(frame, parsed).is_err() || parsed.transport != Transport::Flow {
        return false;
    }
    let (src, dst) = (parsed.key.src, parsed.key.dst);
    if src.is_loopback() || dst.is_loopback() || src.is_link_local() || dst.is_link_local() {
        return false;
    }
    helpers::now() < maps::denied_until(src) && is_for_sandbox(frame, config, parsed)
}

/// Whether a packet belongs to a flow of a sandbox, or would open one to a published port.
#[inline(always)]
fn is_for_sandbox(frame: &Frame, config: &Config, parsed: &Parsed) -> bool {
    let key = &parsed.key;
    if conntrack::is_delivered_from_outside(parsed) {
        // The destination of a SYN may be published for another sandbox now.
        return !(key.protocol == TCP && parsed.opens_flow());
    }
    publish::may_open(parsed)
        && !maps::has_flows_of_node()
        && maps::device(frame.ifindex()).is_some_and(|device| device.is_uplink())
        && maps::address_owner(&key.dst) == Some(AddressOwner::Host)
        && publish::find_for_socket(config, &key.dst, key.dport.get(), key.protocol).is_some()
        && !publish::is_reply(parsed, |key| helpers::find_socket_of_frame(frame, key))
}
