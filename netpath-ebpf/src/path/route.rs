//! Out of the node.

use aya_ebpf::{
    bindings::{
        bpf_fib_lookup, bpf_fib_lookup__bindgen_ty_1, bpf_fib_lookup__bindgen_ty_2,
        bpf_fib_lookup__bindgen_ty_3, bpf_fib_lookup__bindgen_ty_4, bpf_fib_lookup__bindgen_ty_5,
        bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1,
    },
    helpers::generated::{bpf_fib_lookup as fib_lookup, bpf_redirect_neigh},
};
use netpath_common::{
    addr::Addr,
    maps::{Endpoint, Role},
    reason::Reason,
};

use super::wire_length;
use crate::{maps, packet::skb::Skb, parse::Parsed, rewrite};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// No address, where the routing table takes one.
pub const NO_ADDRESS: [u32; 4] = Addr::UNSPECIFIED.raw_words();

const FOUND: i64 = 0;
const UNREACHABLE_FIRST: i64 = 1;
const UNREACHABLE_LAST: i64 = 3;
const NOT_FORWARDED: i64 = 4;
const NO_NEIGHBOUR: i64 = 7;
const TOO_BIG: i64 = 8;

/// Sends a packet of a sandbox to the next hop, over an uplink.
///
/// The source is translated there, so this leaves it alone.
#[inline(never)]
pub fn outside(skb: &mut Skb, parsed: &Parsed, endpoint: &Endpoint) -> Reason {
    if parsed.ttl <= 1 {
        return Reason::TtlExceeded;
    }
    let Some(config) = maps::config() else {
        return Reason::NoRoute;
    };
    let length = wire_length(skb, parsed);
    let mut query = query(skb, parsed, endpoint.bridge, length as u16);
    let mut result = look_up(skb, &mut query, config.route_flags);
    let too_big = result == TOO_BIG;
    if too_big {
        // That answer does not say where to.
        query.__bindgen_anon_1.tot_len = 0;
        result = look_up(skb, &mut query, config.route_flags);
    }
    match result {
        // Without a length to go by, the kernel compares the device's MTU itself, and does say where to.
        FOUND | NO_NEIGHBOUR | TOO_BIG => {}
        // The stack comes to the same conclusion and tells the sender.
        UNREACHABLE_FIRST..=UNREACHABLE_LAST => return Reason::Unreachable,
        NOT_FORWARDED => return Reason::ToHost,
        _ => return Reason::NoRoute,
    }
    match maps::device(query.ifindex) {
        Some(device) if device.role == Role::Uplink as u32 => {}
        _ => return Reason::NoUplink,
    }
    if too_big {
        return Reason::TooBig;
    }
    if rewrite::decrement_ttl(skb, parsed).is_none() {
        return Reason::WriteFailed;
    }
    let mut next_hop = bpf_redir_neigh {
        nh_family: query.family as u32,
        // SAFETY: the look-up has filled the member of `family`; the other one only spans it.
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
            ipv6_nh: unsafe { query.__bindgen_anon_4.ipv6_dst },
        },
    };
    // SAFETY: `next_hop` is a whole structure on the stack.
    unsafe {
        bpf_redirect_neigh(
            query.ifindex,
            &raw mut next_hop,
            size_of::<bpf_redir_neigh>() as i32,
            0,
        );
    }
    Reason::Outbound
}

/// Asks the routing table; the answer replaces the question.
#[inline(always)]
pub fn look_up(skb: &Skb, query: &mut bpf_fib_lookup, flags: u32) -> i64 {
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: `query` is a whole structure, and the context is the program's own.
    unsafe { fib_lookup(skb.as_ptr().cast(), query, size, flags) }
}

/// A question to the routing table about a packet as it would come in by `ifindex`.
#[inline(always)]
pub fn query(skb: &Skb, parsed: &Parsed, ifindex: u32, length: u16) -> bpf_fib_lookup {
    let key = &parsed.key;
    let (family, source, destination) = if parsed.v4 {
        (
            AF_INET,
            [key.src.raw_v4(), 0, 0, 0],
            [key.dst.raw_v4(), 0, 0, 0],
        )
    } else {
        (AF_INET6, key.src.raw_words(), key.dst.raw_words())
    };
    let mut query = bpf_fib_lookup {
        family,
        l4_protocol: key.protocol,
        sport: key.sport.raw(),
        dport: 0,
        __bindgen_anon_1: bpf_fib_lookup__bindgen_ty_1 { tot_len: length },
        ifindex,
        // IPv4 takes the type of service, IPv6 the traffic class at its place in the flow information.
        __bindgen_anon_2: if parsed.v4 {
            bpf_fib_lookup__bindgen_ty_2 {
                flowinfo: parsed.tos as u32,
            }
        } else {
            bpf_fib_lookup__bindgen_ty_2 {
                flowinfo: ((parsed.tos as u32) << 20).to_be(),
            }
        },
        __bindgen_anon_3: bpf_fib_lookup__bindgen_ty_3 { ipv6_src: source },
        __bindgen_anon_4: bpf_fib_lookup__bindgen_ty_4 {
            ipv6_dst: destination,
        },
        __bindgen_anon_5: bpf_fib_lookup__bindgen_ty_5 { tbid: 0 },
        smac: marked(skb.mark()),
        dmac: [0; 6],
    };
    // Written apart from its neighbour: both in one store would not be aligned, which the stack does not allow.
    // SAFETY: a field of a local structure.
    unsafe {
        (&raw mut query.dport).write_volatile(key.dport.raw());
    }
    query
}

/// A question about nothing, as it would come in by `ifindex`.
#[inline(always)]
pub fn empty_query(ifindex: u32) -> bpf_fib_lookup {
    bpf_fib_lookup {
        family: AF_INET,
        l4_protocol: 0,
        sport: 0,
        dport: 0,
        __bindgen_anon_1: bpf_fib_lookup__bindgen_ty_1 { tot_len: 0 },
        ifindex,
        __bindgen_anon_2: bpf_fib_lookup__bindgen_ty_2 { flowinfo: 0 },
        __bindgen_anon_3: bpf_fib_lookup__bindgen_ty_3 {
            ipv6_src: NO_ADDRESS,
        },
        __bindgen_anon_4: bpf_fib_lookup__bindgen_ty_4 {
            ipv6_dst: NO_ADDRESS,
        },
        __bindgen_anon_5: bpf_fib_lookup__bindgen_ty_5 { tbid: 0 },
        smac: [0; 6],
        dmac: [0; 6],
    }
}

/// The field of the source MAC address with the packet's mark in its first four bytes, as a look-up with
/// `BPF_FIB_LOOKUP_MARK` (Linux 6.10) reads it. Other look-ups ignore it.
#[inline(always)]
fn marked(mark: u32) -> [u8; 6] {
    let [a, b, c, d] = mark.to_ne_bytes();
    [a, b, c, d, 0, 0]
}

/// An IPv6 address as the routing table gives it.
#[inline(always)]
pub fn from_words(words: [u32; 4]) -> Addr {
    let [a, b, c, d] = words;
    if cfg!(target_endian = "little") {
        Addr::from_raw(
            (a as u64) | ((b as u64) << 32),
            (c as u64) | ((d as u64) << 32),
        )
    } else {
        Addr::from_raw(((a as u64) << 32) | b as u64, ((c as u64) << 32) | d as u64)
    }
}
