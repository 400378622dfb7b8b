//! The kernel's helpers for host tests: a clock and a routing table that tests set, and a record of the calls.

use std::cell::RefCell;

use netpath_common::{
    addr::{Addr, Family},
    checksum::{fold, sum},
    flow::FlowKey,
    hook::Hook,
    maps::{BUFFER_BYTES, NextHop, SweepRecord},
};

use super::{Continue, Lookup, Route, RouteQuery, Socket, Step};
use crate::{
    packet::{Packet, skb::Skb},
    parse::ETHERNET,
};

/// The state that tests set, and the calls of programs.
#[derive(Default)]
pub struct Kernel {
    /// Coarse monotonic nanoseconds.
    pub now: u64,
    /// The result of every route lookup.
    pub lookup: Lookup,
    /// The route that every lookup finds.
    pub route: Route,
    /// Route lookups: the tuple of the packet, the source address, the interface index of the ingress device, and the flags.
    pub route_lookups: Vec<(FlowKey, Addr, u32, u32)>,
    /// Sockets of the node by the tuple of the packets that they receive, and whether they are connected.
    pub sockets: Vec<(FlowKey, Socket)>,
    /// Devices that the packet was redirected to.
    pub redirects: Vec<u32>,
    /// Next hops that the packet was redirected to.
    pub neighbours: Vec<NextHop>,
    /// Copies of the packet: the hook that each was sent through, and its bytes.
    pub copies: Vec<(Hook, Vec<u8>)>,
}

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::default();
}

/// Accesses the kernel of this test.
pub fn with_kernel<T>(access: impl FnOnce(&mut Kernel) -> T) -> T {
    KERNEL.with_borrow_mut(access)
}

pub fn add_u64(counter: *mut u64, amount: u64) {
    // SAFETY: callers pass a field of a map value; a test has one thread.
    unsafe { *counter += amount }
}

pub fn add_i32(counter: *mut i32, amount: i32) {
    // SAFETY: as above.
    unsafe { *counter += amount }
}

pub fn raise_u64(counter: *mut u64, least: u64) -> u64 {
    // SAFETY: as above.
    unsafe {
        *counter = least.max(*counter);
        *counter
    }
}

pub fn fetch_add_u32(counter: *mut u32, amount: u32) -> u32 {
    // SAFETY: as above.
    unsafe {
        let before = *counter;
        *counter = before.wrapping_add(amount);
        before
    }
}

pub fn now() -> u64 {
    with_kernel(|kernel| kernel.now)
}

pub fn precise_now() -> u64 {
    now()
}

/// A constant, so that tests are reproducible.
pub fn random_u32() -> u32 {
    0x5eed_5eed
}

pub fn repeat<S: Step>(count: u32, body: &mut S) {
    for number in 0..count {
        if body.step(number) == Continue::No {
            return;
        }
    }
}

pub fn find_socket(_skb: &Skb, key: &FlowKey) -> Socket {
    with_kernel(|kernel| {
        let found = kernel.sockets.iter().find(|(other, _)| other == key);
        found.map_or(Socket::None, |(_, socket)| *socket)
    })
}

pub fn find_route(_skb: &Skb, query: &RouteQuery<'_>, _length: usize, found: &mut Route) -> Lookup {
    with_kernel(|kernel| {
        let lookup = (query.parsed.key, query.source, query.ifindex, query.flags);
        kernel.route_lookups.push(lookup);
        *found = kernel.route;
        kernel.lookup
    })
}

pub fn redirect_to_peer(_skb: &Skb, ifindex: u32) {
    with_kernel(|kernel| kernel.redirects.push(ifindex));
}

pub fn redirect_to_device(_skb: &Skb, ifindex: u32) {
    with_kernel(|kernel| kernel.redirects.push(ifindex));
}

pub fn redirect_to_neighbour(_skb: &Skb, hop: &NextHop) {
    with_kernel(|kernel| kernel.neighbours.push(*hop));
}

pub fn clone_redirect(skb: &Skb, hook: Hook) -> bool {
    with_kernel(|kernel| kernel.copies.push((hook, skb.bytes.clone())));
    true
}

pub fn load_bytes(skb: &Skb, buffer: *mut [u8; BUFFER_BYTES], length: u32) -> bool {
    let length = length as usize;
    // SAFETY: callers pass a field of a map value.
    let buffer = unsafe { &mut *buffer };
    let copied = buffer.get_mut(..length).zip(skb.bytes.get(..length));
    copied.map(|(to, from)| to.copy_from_slice(from)).is_some()
}

pub fn replace_packet(
    skb: &mut Skb,
    _l3: usize,
    frame: *const [u8; BUFFER_BYTES],
    length: u32,
) -> bool {
    // SAFETY: as above.
    let frame = unsafe { &*frame };
    let bytes = frame.get(..length as usize);
    bytes.map(|bytes| skb.bytes = bytes.to_vec()).is_some()
}

pub fn add_tunnel_room(skb: &mut Skb, _family: Family, length: usize) -> bool {
    skb.bytes
        .splice(ETHERNET..ETHERNET, std::iter::repeat_n(0, length));
    true
}

pub fn add_room(skb: &mut Skb, length: usize) -> bool {
    add_tunnel_room(skb, Family::V4, length)
}

pub fn truncate(skb: &mut Skb, length: usize) -> bool {
    skb.bytes.truncate(length);
    true
}

pub fn sum_of<const N: usize>(bytes: &[u8; N]) -> u32 {
    u32::from(fold(sum(bytes)))
}

pub fn remove_tunnel_headers(skb: &mut Skb, _outer: Family, _inner: Family, length: usize) -> bool {
    skb.bytes.drain(ETHERNET..ETHERNET + length);
    true
}

pub fn load_record(
    skb: &Skb,
    offset: usize,
    use_record: impl FnOnce(&SweepRecord) -> bool,
) -> bool {
    if offset + size_of::<SweepRecord>() > skb.len() {
        return false;
    }
    // SAFETY: the slice has the size of a record, and every bit pattern is a record.
    let record = unsafe {
        skb.bytes
            .as_ptr()
            .add(offset)
            .cast::<SweepRecord>()
            .read_unaligned()
    };
    use_record(&record)
}
