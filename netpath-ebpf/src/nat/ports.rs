//! Choosing an external port.
//!
//! The source port is kept where SNAT may use it. Otherwise the first choice is a keyed hash of the inner address and
//! port: unpredictable from outside (RFC 6056), and the same for every destination, which makes the mapping
//! endpoint-independent while nothing collides (RFC 4787 REQ-1) without any state. After a collision the choice is
//! random. A port is taken by inserting the reply tuple; nothing is checked first and used later.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_F_CURRENT_NETNS, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{
        bpf_get_prandom_u32,
        generated::{bpf_loop, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
    },
};
use netpath_common::{
    addr::Be16,
    flow::{FlowKey, ICMP, ICMPV6, TCP, UDP},
    maps::{Config, VXLAN_PORT},
    reason::Reason,
};

use crate::{
    conntrack::{self, Opening, Refused, SourcePort},
    maps::{self, Scratch},
    packet::skb::Skb,
    parse::Parsed,
};

/// Attempts before a new flow is refused. More hardly ever help: each fails only if the port is taken towards this
/// very destination.
const ATTEMPTS: u32 = 32;

/// Opens the flow whose tuple stands in `scratch.to`; its source port becomes one that is free there.
///
/// # Errors
/// The reason to drop the packet.
#[inline(never)]
pub fn open(
    opening: &Opening,
    skb: &Skb,
    parsed: &Parsed,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    if !conntrack::quota::admits(&opening.reply) {
        return Err(Reason::Quota);
    }
    let mut search = Search {
        opening,
        skb,
        parsed,
        scratch,
        outcome: NO_PORT,
    };
    run(&mut search);
    if search.outcome == TABLE_FULL {
        conntrack::reclaim::of_table();
        search.outcome = NO_PORT;
        run(&mut search);
    }
    match search.outcome {
        OPENED => Ok(()),
        TABLE_FULL => Err(Reason::TableFull),
        _ => Err(Reason::NoPort),
    }
}

#[inline(always)]
fn run(search: &mut Search<'_>) {
    // SAFETY: the callback gets this `search` and nothing keeps it (Linux 5.17).
    unsafe {
        bpf_loop(
            ATTEMPTS,
            attempt as *mut c_void,
            (&raw mut *search).cast(),
            0,
        );
    }
}

struct Search<'a> {
    opening: &'a Opening,
    skb: &'a Skb,
    parsed: &'a Parsed,
    scratch: &'a mut Scratch,
    outcome: u64,
}

const NO_PORT: u64 = 0;
const OPENED: u64 = 1;
const TABLE_FULL: u64 = 2;

const GO_ON: i64 = 0;
const STOP: i64 = 1;

/// One attempt. A callback, so that the verifier follows it once and not [`ATTEMPTS`] times.
unsafe extern "C" fn attempt(number: u32, search: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` passes on what `run` gave it.
    let search = unsafe { &mut *search.cast::<Search<'_>>() };
    let Some(config) = maps::config() else {
        return STOP;
    };
    let from = &search.parsed.key;
    let is_echo = matches!(from.protocol, ICMP | ICMPV6);
    let candidate = match number {
        0 => from.sport.get(),
        1 => scale(config, is_echo, mix(config.secret, from)),
        // SAFETY: plain helper call.
        _ => scale(config, is_echo, unsafe { bpf_get_prandom_u32() }),
    };
    search.scratch.to.sport = Be16::new(candidate);
    let source = search.opening.source;
    let is_kept = source != SourcePort::Choose && number == 0;
    let is_usable = if is_echo {
        is_usable_identifier(config, &search.scratch.to)
    } else {
        is_kept || is_usable(config, search.skb, &search.scratch.to)
    };
    if !is_usable {
        return GO_ON;
    }
    match conntrack::create(search.opening, search.parsed, search.scratch) {
        Ok(()) => search.outcome = OPENED,
        Err(Refused::Full) => search.outcome = TABLE_FULL,
        Err(Refused::Taken) if source != SourcePort::Keep => return GO_ON,
        Err(Refused::Taken) => {}
    }
    STOP
}

/// Whether a source port may be used towards this destination: it lies in the range, nothing publishes it, and no
/// socket of the node would get the answer.
#[inline(always)]
fn is_usable(config: &Config, skb: &Skb, to: &FlowKey) -> bool {
    let port = to.sport.get();
    config.snat_first <= port
        && port <= config.snat_last
        && !(to.protocol == UDP && port == VXLAN_PORT)
        && !maps::snat_taken(to.protocol, port)
        && !has_host_socket(skb, to)
}

/// Whether an echo identifier may be used towards this destination: the node itself waits for no answer to it.
#[inline(always)]
fn is_usable_identifier(config: &Config, to: &FlowKey) -> bool {
    match maps::host_echo(&to.reversed()) {
        Some(sent) => conntrack::now().saturating_sub(sent) > config.timers.icmp,
        None => true,
    }
}

/// Whether a socket of the node is connected to the sender of a packet.
#[inline(always)]
pub fn is_connected_socket(skb: &Skb, key: &FlowKey) -> bool {
    look_for_socket(skb, key, true)
}

/// Whether a socket of the node would get the answers to `to`.
#[inline(always)]
fn has_host_socket(skb: &Skb, to: &FlowKey) -> bool {
    look_for_socket(skb, &to.reversed(), false)
}

/// Looks for the socket of the node that would get a packet with this tuple.
#[inline(never)]
fn look_for_socket(skb: &Skb, key: &FlowKey, connected: bool) -> bool {
    if key.dst.is_v4() {
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: key.src.raw_v4(),
            daddr: key.dst.raw_v4(),
            sport: key.sport.raw(),
            dport: key.dport.raw(),
        };
        let size = size_of_val(&tuple) as u32;
        return find_socket(skb, key.protocol, (&raw mut tuple).cast(), size, connected);
    }
    let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
        saddr: key.src.raw_words(),
        daddr: key.dst.raw_words(),
        sport: key.sport.raw(),
        dport: key.dport.raw(),
    };
    let size = size_of_val(&tuple) as u32;
    find_socket(skb, key.protocol, (&raw mut tuple).cast(), size, connected)
}

/// State of a connected socket (net/tcp_states.h), UDP ones included.
const ESTABLISHED: u32 = 1;
/// State of a TCP socket that is connected to nobody.
const LISTEN: u32 = 10;

#[inline(always)]
fn find_socket(
    skb: &Skb,
    protocol: u8,
    tuple: *mut bpf_sock_tuple,
    size: u32,
    connected: bool,
) -> bool {
    let context = skb.as_ptr().cast();
    let netns = BPF_F_CURRENT_NETNS as i64 as u64;
    // SAFETY: `tuple` holds the `size` bytes of its family's member, and a socket that is found is released at once. The
    // two look-ups find different sorts of sockets, which one instruction must not touch.
    unsafe {
        if protocol == TCP {
            let socket = bpf_skc_lookup_tcp(context, tuple, size, netns, 0);
            if socket.is_null() {
                return false;
            }
            let state = (&raw const (*socket).state).read_volatile();
            bpf_sk_release(socket.cast());
            return !connected || state != LISTEN;
        }
        let socket = bpf_sk_lookup_udp(context, tuple, size, netns, 0);
        if socket.is_null() {
            return false;
        }
        let state = (&raw const (*socket).state).read_volatile();
        bpf_sk_release(socket.cast());
        !connected || state == ESTABLISHED
    }
}

/// Spreads 32 random bits over the range without a division.
#[inline(always)]
fn scale(config: &Config, is_echo: bool, random: u32) -> u16 {
    if is_echo {
        return random as u16;
    }
    let width = (config.snat_last.wrapping_sub(config.snat_first)) as u64 + 1;
    config
        .snat_first
        .wrapping_add(((random as u64 * width) >> 32) as u16)
}

/// A keyed hash of the inner end: two rounds of a 64-bit multiply-xorshift (the finaliser of SplitMix64).
#[inline(always)]
fn mix(secret: u64, key: &FlowKey) -> u32 {
    let (high, low) = key.src.raw();
    let mut state = secret ^ high ^ ((key.sport.raw() as u64) << 8 | key.protocol as u64);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^= low;
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state >> 32) as u32
}
