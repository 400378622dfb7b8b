//! Routing lookups.

use aya_ebpf::{
    bindings::{
        bpf_fib_lookup, bpf_fib_lookup__bindgen_ty_1, bpf_fib_lookup__bindgen_ty_2,
        bpf_fib_lookup__bindgen_ty_3, bpf_fib_lookup__bindgen_ty_4, bpf_fib_lookup__bindgen_ty_5,
    },
    helpers::generated::bpf_fib_lookup as fib_lookup,
};
use netpath_common::addr::{Addr, Family};

use super::{AF_INET, AF_INET6, Lookup, Route, RouteQuery};
use crate::packet::skb::Skb;

const FOUND: i64 = 0;
const UNREACHABLE_FIRST: i64 = 1;
const UNREACHABLE_LAST: i64 = 3;
const NOT_FORWARDED: i64 = 4;
const NO_NEIGHBOUR: i64 = 7;
const TOO_BIG: i64 = 8;
const NO_SOURCE: i64 = 9;

/// `BPF_FIB_LOOKUP_SRC` (Linux 6.7, commit dab4e1f06cab).
const SOURCE: u32 = 1 << 4;

/// Looks up the route of a packet of `length` bytes (network header and all that follows).
#[inline(always)]
pub fn find_route(skb: &Skb, query: &RouteQuery<'_>, length: usize, found: &mut Route) -> Lookup {
    let mut flags = query.flags;
    let mut params = lookup_params(skb, query, length as u16);
    let mut result = look_up(skb, &mut params, flags);
    if result == NO_SOURCE {
        // Without the flag, the result contains the next hop.
        flags &= !SOURCE;
        params.ifindex = query.ifindex;
        result = look_up(skb, &mut params, flags);
    }
    // SAFETY: both members are 16 bits wide. The kernel writes the MTU there, unless it found no neighbour; then the length
    // of the packet remains, which the MTU of the route permits.
    found.mtu = unsafe { params.__bindgen_anon_1.mtu_result } as u32;
    let too_big = result == TOO_BIG;
    if too_big {
        // This result does not contain the next hop; a lookup without a length does.
        params.__bindgen_anon_1.tot_len = 0;
        result = look_up(skb, &mut params, flags);
    }
    match result {
        // The result is `TOO_BIG` only after the second lookup. That lookup has no length, so the kernel compares the packet
        // with the MTU of the device, and a result of `TOO_BIG` contains the next hop.
        FOUND | NO_NEIGHBOUR | TOO_BIG => {}
        UNREACHABLE_FIRST..=UNREACHABLE_LAST => return Lookup::Unreachable,
        NOT_FORWARDED => return Lookup::Local,
        _ => return Lookup::Failed,
    }
    found.hop.ifindex = params.ifindex;
    found.hop.family = params.family as u32;
    // SAFETY: the lookup has filled the member of `family`; the other member spans it. With the flag for the source, it has
    // also filled the member of the packet's family.
    unsafe {
        found.hop.address = params.__bindgen_anon_4.ipv6_dst;
        found.source = match query.parsed.family {
            _ if flags & SOURCE == 0 => Addr::UNSPECIFIED,
            Family::V4 => Addr::from_raw_v4(params.__bindgen_anon_3.ipv4_src),
            Family::V6 => Addr::from_raw_words(params.__bindgen_anon_3.ipv6_src),
        };
    }
    if too_big {
        Lookup::TooBig
    } else {
        Lookup::Found
    }
}

/// Looks up a route; the kernel writes the result to `params`.
#[inline(always)]
fn look_up(skb: &Skb, params: &mut bpf_fib_lookup, flags: u32) -> i64 {
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: `params` is a complete structure, and the context is the program's own.
    unsafe { fib_lookup(skb.as_ptr().cast(), params, size, flags) }
}

#[inline(always)]
fn lookup_params(skb: &Skb, query: &RouteQuery<'_>, length: u16) -> bpf_fib_lookup {
    let parsed = query.parsed;
    let key = &parsed.key;
    let (family, source, destination) = match parsed.family {
        Family::V4 => (
            AF_INET as u8,
            [query.source.raw_v4(), 0, 0, 0],
            [key.dst.raw_v4(), 0, 0, 0],
        ),
        Family::V6 => (
            AF_INET6 as u8,
            query.source.raw_words(),
            key.dst.raw_words(),
        ),
    };
    let mut params = bpf_fib_lookup {
        family,
        l4_protocol: key.protocol,
        sport: key.sport.raw(),
        dport: 0,
        __bindgen_anon_1: bpf_fib_lookup__bindgen_ty_1 { tot_len: length },
        ifindex: 0,
        // IPv4: the type of service. IPv6: the flow information, which contains the traffic class.
        __bindgen_anon_2: bpf_fib_lookup__bindgen_ty_2 {
            flowinfo: match parsed.family {
                Family::V4 => parsed.tos as u32,
                Family::V6 => ((parsed.tos as u32) << 20).to_be(),
            },
        },
        __bindgen_anon_3: bpf_fib_lookup__bindgen_ty_3 { ipv6_src: source },
        __bindgen_anon_4: bpf_fib_lookup__bindgen_ty_4 {
            ipv6_dst: destination,
        },
        __bindgen_anon_5: bpf_fib_lookup__bindgen_ty_5 { tbid: 0 },
        smac: mark_field(skb.mark()),
        dmac: [0; 6],
    };
    // Written separately: one store for these fields and the next would be unaligned, which the verifier rejects on the stack.
    // SAFETY: fields of a local structure.
    unsafe {
        (&raw mut params.dport).write_volatile(key.dport.raw());
        (&raw mut params.ifindex).write_volatile(query.ifindex);
    }
    params
}

/// The field of the source MAC address in the parameters: the mark is in its first four bytes. A kernel without
/// `BPF_FIB_LOOKUP_MARK` (Linux 6.10) does not read it.
#[inline(always)]
fn mark_field(mark: u32) -> [u8; 6] {
    let [a, b, c, d] = mark.to_ne_bytes();
    [a, b, c, d, 0, 0]
}

/// The result of a lookup with these flags and without addresses.
#[inline(always)]
pub fn probe_route(skb: &Skb, flags: u32) -> i32 {
    let mut params = bpf_fib_lookup {
        family: AF_INET as u8,
        l4_protocol: 0,
        sport: 0,
        dport: 0,
        __bindgen_anon_1: bpf_fib_lookup__bindgen_ty_1 { tot_len: 0 },
        ifindex: skb.ifindex(),
        __bindgen_anon_2: bpf_fib_lookup__bindgen_ty_2 { flowinfo: 0 },
        __bindgen_anon_3: bpf_fib_lookup__bindgen_ty_3 {
            ipv6_src: Addr::UNSPECIFIED.raw_words(),
        },
        __bindgen_anon_4: bpf_fib_lookup__bindgen_ty_4 {
            ipv6_dst: Addr::UNSPECIFIED.raw_words(),
        },
        __bindgen_anon_5: bpf_fib_lookup__bindgen_ty_5 { tbid: 0 },
        smac: [0; 6],
        dmac: [0; 6],
    };
    look_up(skb, &mut params, flags) as i32
}
