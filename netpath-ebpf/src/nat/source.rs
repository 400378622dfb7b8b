//! Outbound flows: source translation.

use aya_ebpf::bindings::bpf_fib_lookup__bindgen_ty_3;
use netpath_common::{
    addr::Addr,
    flow::Kind,
    maps::{Device, Endpoint, MASQUERADE, ROUTED},
    reason::Reason,
};

use super::ports;
use crate::{
    conntrack::{self, Inner, Opening, SourcePort},
    maps,
    packet::skb::Skb,
    parse::Parsed,
    path::route,
};

/// Opens a flow from a sandbox to the outside, at the uplink it leaves by.
///
/// # Errors
/// The reason to drop the packet.
#[inline(never)]
pub fn open_outbound(
    skb: &Skb,
    parsed: &Parsed,
    slot: u32,
    endpoint: &'static Endpoint,
    uplink: &'static Device,
) -> Result<(), Reason> {
    let Some(scratch) = maps::scratch() else {
        return Err(Reason::TableFull);
    };
    conntrack::keys::set(&mut scratch.to, &parsed.key);
    let original = Inner::out_of(slot, endpoint);
    let reply = Inner::into(slot, endpoint);
    if endpoint.flags & MASQUERADE == 0 || endpoint.flags & ROUTED != 0 {
        let opening = Opening {
            original,
            reply,
            kind: Kind::None,
            source: SourcePort::Keep,
        };
        return ports::open(&opening, skb, parsed, scratch);
    }
    scratch.to.src = source_address(skb, parsed, endpoint.bridge, uplink);
    if scratch.to.src.is_unspecified() {
        return Err(Reason::NoAddress);
    }
    ports::open(
        &Opening {
            original,
            reply,
            kind: Kind::Snat,
            source: SourcePort::Choose,
        },
        skb,
        parsed,
        scratch,
    )
}

/// The address that the route to the destination prefers; the uplink's own if the kernel cannot be asked or names none.
#[inline(never)]
fn source_address(skb: &Skb, parsed: &Parsed, bridge: u32, uplink: &'static Device) -> Addr {
    let fallback = if parsed.v4 { uplink.v4 } else { uplink.v6 };
    let Some(config) = maps::config() else {
        return fallback;
    };
    if config.source_flags == 0 {
        return fallback;
    }
    let mut query = route::query(skb, parsed, bridge, 0);
    // The packet has the sandbox's source; the node's own choice is wanted.
    query.__bindgen_anon_3 = bpf_fib_lookup__bindgen_ty_3 {
        ipv6_src: route::NO_ADDRESS,
    };
    // A route over another device has a source that does not belong on this one.
    if route::look_up(skb, &mut query, config.source_flags) != 0 || query.ifindex != skb.ifindex() {
        return fallback;
    }
    // SAFETY: a successful look-up has filled the member of the packet's family.
    let found = unsafe {
        if parsed.v4 {
            Addr::from_raw_v4(query.__bindgen_anon_3.ipv4_src)
        } else {
            route::from_words(query.__bindgen_anon_3.ipv6_src)
        }
    };
    if found.is_unspecified() {
        fallback
    } else {
        found
    }
}
