//! Access to the maps. [`netpath_common::for_each_map`] declares them, with the layouts of keys and values.
//!
//! `flows` is accessed through [`crate::conntrack::entry`] only. Host tests use plain collections (`host`) instead.

#[cfg(not(target_arch = "bpf"))]
pub mod host;
mod rings;

pub use rings::{HalfOpenRing, Sequence, copy_index_key, next_index_slot, store_index_key};

use core::ffi::c_void;

#[cfg(target_arch = "bpf")]
use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use netpath_common::{
    addr::{Addr, Family},
    flow::{FlowEntry, FlowKey},
    for_each_map,
    maps::{
        AVOIDED_PORTS, AddressOwner, AddressRecord, BufferedFragment, CURSORS, Config, Count,
        Denied, DeniedKey, Device, Endpoint, ForwarderKey, FragmentKey, HALF_OPEN_BLOCK,
        HalfOpenBlock, KnownDatagram, LEAST_DEFAULT_FLOWS, LinkAddresses, LinkKey, LinkOwner,
        MAX_ADDRESSES, MAX_ALLOW, MAX_BUFFERED, MAX_DENIED, MAX_DEVICES, MAX_ENDPOINTS,
        MAX_HOST_ECHOES, MAX_KNOWN, MAX_LINK_OWNERS, MAX_NETWORKS, MAX_NEXT_HOPS, MAX_OUTER_TUPLES,
        MAX_PEERS, MAX_PENDING, MAX_PORTS, MAX_REMOTES, MAX_SOCKET_PEERS, MAX_SUBNETS,
        MIN_HALF_OPEN_ELEMENTS, Network, NextHop, OuterTuple, Peer, PendingDatagram, PortKey,
        PublishedRange, RESERVED_WORDS, Remote, RemoteKey, SocketAddr, SocketPeer, Subnet, Usage,
        avoided_index, reserved_word,
    },
    reason::{COUNTERS, Reason},
};

#[cfg(target_arch = "bpf")]
pub(crate) use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray},
};
#[cfg(not(target_arch = "bpf"))]
pub(crate) use host::{
    Array, BPF_F_NO_PREALLOC, BPF_NOEXIST, HashMap, LpmTrie, LruHashMap, PerCpuArray,
};

macro_rules! map_type {
    (Array, $key:ty, $value:ty) => { Array<$value> };
    (PerCpuArray, $key:ty, $value:ty) => { PerCpuArray<$value> };
    (HashMap, $key:ty, $value:ty) => { HashMap<$key, $value> };
    (LruHashMap, $key:ty, $value:ty) => { LruHashMap<$key, $value> };
    (LpmTrie, $key:ty, $value:ty) => { LpmTrie<$key, $value> };
}

macro_rules! map_flags {
    (HashMap) => {
        BPF_F_NO_PREALLOC
    };
    ($other:ident) => {
        0
    };
}

macro_rules! define {
    ($($name:tt $static:ident: $kind:ident[$key:ty => $value:ty; $capacity:expr], $writer:literal => $readers:literal;)+) => {
        $(
            #[cfg_attr(target_arch = "bpf", map(name = $name))]
            pub(crate) static $static: map_type!($kind, $key, $value) =
                <map_type!($kind, $key, $value)>::pinned($capacity, map_flags!($kind));
        )+
    };
}

for_each_map!(define);

/// A key of `subnets`, which starts at `length`. Access to the stack must be aligned, so padding precedes the key.
#[repr(C)]
struct PrefixKey {
    pad: u32,
    length: u32,
    address: Addr,
}

/// A key of `allow`.
#[repr(C)]
struct AllowKey {
    length: u32,
    list: u32,
    address: Addr,
}

/// # Safety
/// `key` has as many bytes as the map's keys.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn find_longest_value<K, V>(map: *const LpmTrie<K, V>, key: *const c_void) -> *mut V {
    // SAFETY: by contract. The loader replaces the address of the static, which defines the map, by the map.
    unsafe { bpf_map_lookup_elem(map.cast_mut().cast(), key).cast::<V>() }
}
#[cfg(not(target_arch = "bpf"))]
use host::find_longest_value;

/// # Safety
/// `key` has as many bytes as the map's keys.
#[inline(always)]
unsafe fn find_longest<K, V>(map: *const LpmTrie<K, V>, key: *const c_void) -> Option<&'static V> {
    // SAFETY: by contract. An element that is found stays valid while the program runs.
    unsafe { find_longest_value(map, key).as_ref() }
}

/// The settings of the node. Never `None` at run time: every entry of an array map exists.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// The device with an interface index.
#[inline(always)]
pub fn device(ifindex: u32) -> Option<&'static Device> {
    // SAFETY: while a program runs, the memory of an element is not freed. After the removal of the element, another element
    // may reuse the memory; then one packet is handled by the newer element.
    unsafe { DEVICES.get(&ifindex) }
}

/// The endpoint in a slot, whether or not it is in use.
#[inline(always)]
pub fn endpoint(slot: u32) -> Option<&'static Endpoint> {
    ENDPOINTS.get(slot)
}

/// The endpoint in a slot, if it is in use and has this generation.
#[inline(always)]
pub fn live_endpoint(slot: u32, generation: u32) -> Option<&'static Endpoint> {
    let endpoint = ENDPOINTS.get(slot)?;
    if endpoint.generation == generation && endpoint.ifindex != 0 {
        Some(endpoint)
    } else {
        None
    }
}

/// The slot of the endpoint with a MAC address in a network, if its sandbox forwards packets for others.
#[inline(always)]
pub fn forwarder(key: &ForwarderKey) -> Option<u32> {
    // SAFETY: as in `device`.
    unsafe { FORWARDERS.get(key) }.copied()
}

/// The time, in monotonic nanoseconds, when a link with the rate of the endpoint in a slot would have transmitted everything
/// that the sandbox has sent.
#[inline(always)]
pub fn sent_until(slot: u32) -> Option<*mut u64> {
    SENT_UNTIL.get_ptr_mut(slot)
}

/// The owner of an address.
#[inline(always)]
pub fn address_owner(addr: &Addr) -> Option<AddressOwner> {
    // SAFETY: as in `device`.
    unsafe { ADDRESSES.get(addr) }.map(|record| record.owner())
}

/// The slot of the endpoint that owns an address.
#[inline(always)]
pub fn endpoint_slot(addr: &Addr) -> Option<u32> {
    // SAFETY: as in `device`.
    match unsafe { ADDRESSES.get(addr) }?.owner() {
        AddressOwner::Endpoint(slot) => Some(slot),
        AddressOwner::Host | AddressOwner::Gateway => None,
    }
}

/// The netpath subnet that contains an address.
#[inline(always)]
pub fn subnet(addr: Addr) -> Option<&'static Subnet> {
    let key = PrefixKey {
        pad: 0,
        length: 128,
        address: addr,
    };
    // SAFETY: the key starts at `length` and has the 20 bytes of the map's key size.
    unsafe { find_longest(&raw const SUBNETS, (&raw const key.length).cast()) }
}

/// The link-local addresses that the endpoint in a slot has used.
#[inline(always)]
pub fn link_addresses(slot: u32) -> Option<&'static mut LinkAddresses> {
    // SAFETY: a map value, of numbers for which every bit pattern is valid. Two CPUs may change the entry at the same time, if
    // one sandbox sends from two new addresses at once; then one of the addresses is lost and stored again when it is used.
    LINK_ADDRESSES_MAP
        .get_ptr_mut(slot)
        .map(|entry| unsafe { &mut *entry })
}

/// The endpoint that uses a link-local address.
#[inline(always)]
pub fn link_owner(key: &LinkKey) -> Option<LinkOwner> {
    // SAFETY: as in `device`.
    unsafe { LINK_OWNERS.get(key) }.copied()
}

/// Stores the owner of a link-local address that has none. `false` if another CPU was faster, or there is no room.
#[inline(always)]
pub fn add_link_owner(key: &LinkKey, owner: &LinkOwner) -> bool {
    LINK_OWNERS.insert(key, owner, BPF_NOEXIST as u64).is_ok()
}

/// Removes the owner of a link-local address.
#[inline(always)]
pub fn remove_link_owner(key: &LinkKey) {
    // Another CPU may have removed it.
    let _ = LINK_OWNERS.remove(key);
}

/// The published range under a key.
#[inline(always)]
pub fn published_range(key: &PortKey) -> Option<&'static PublishedRange> {
    // SAFETY: as in `device`.
    unsafe { PORTS.get(key) }
}

/// Whether an allow-list contains a source.
#[inline(always)]
pub fn is_allowed(list: u32, source: Addr) -> bool {
    let key = AllowKey {
        length: 32 + 128,
        list,
        address: source,
    };
    // SAFETY: the key has the 24 bytes of the map's key size.
    unsafe { find_longest(&raw const ALLOW, (&raw const key).cast()) }.is_some()
}

/// Until when the deny list contains an address, in coarse monotonic nanoseconds; 0 if it does not contain it.
#[inline(always)]
pub fn denied_until(address: Addr) -> u64 {
    let key = DeniedKey::of_address(address);
    // SAFETY: the key has the 24 bytes of the map's key size.
    match unsafe { find_longest(&raw const DENIED, (&raw const key).cast()) } {
        Some(entry) => entry.until,
        None => 0,
    }
}

/// The other node with an underlay address.
#[inline(always)]
pub fn peer(addr: &Addr) -> Option<Peer> {
    // SAFETY: as in `device`.
    unsafe { PEERS.get(addr) }.copied()
}

/// The part of an overlay network on another node that contains an address.
#[inline(always)]
pub fn remote(network: u32, addr: Addr) -> Option<RemotePart> {
    let key = RemoteKey::of_address(network, addr);
    // SAFETY: the key has the 24 bytes of the map's key size.
    let value = unsafe { find_longest_value(&raw const REMOTES, (&raw const key).cast()) };
    if value.is_null() {
        None
    } else {
        Some(RemotePart(value))
    }
}

/// A value of `remotes`, of which the programs write the route decision.
#[derive(Clone, Copy)]
pub struct RemotePart(*mut Remote);

impl RemotePart {
    /// The fields that the daemon writes, and the route decision when it was read.
    #[inline(always)]
    pub const fn get(self) -> &'static Remote {
        // SAFETY: a map value, never null, valid while the program runs. Another CPU may change the route decision at the same
        // time; each of its fields is read once.
        unsafe { &*self.0 }
    }

    /// Sets the route decision.
    #[inline(always)]
    pub const fn set_route(self, next_hop: u16, mtu: u16, decided: u32) {
        // SAFETY: as in `get`; single stores. If another CPU stores another decision at the same time, both are recent.
        unsafe {
            (*self.0).next_hop = next_hop;
            (*self.0).mtu = mtu;
            (*self.0).decided = decided;
        }
    }
}

/// The network with an identifier in tunnel packets.
#[inline(always)]
pub fn network_of_vni(vni: u32) -> Option<u32> {
    // SAFETY: as in `device`.
    unsafe { VNIS.get(&vni) }.copied()
}

/// The range of an endpoint's own ports under a key.
#[inline(always)]
pub fn own_range(key: &PortKey) -> Option<&'static PublishedRange> {
    // SAFETY: as in `device`.
    unsafe { OWN_PORTS.get(key) }
}

/// Whether a port of TCP or UDP is published on any address of a family.
#[inline(always)]
pub fn is_reserved(family: Family, protocol: u8, port: u16) -> bool {
    match RESERVED_PORTS.get(reserved_word(family, protocol, port)) {
        Some(word) => word & (1 << (port & 63)) != 0,
        None => false,
    }
}

/// The outer tuple whose replies have this tuple, for reading and writing.
#[inline(always)]
pub fn outer_tuple(reply: &FlowKey) -> Option<*mut OuterTuple> {
    OUTER_TUPLES.get_ptr_mut(reply)
}

/// Records an outer tuple by the tuple of its replies. `false` if the map is full.
#[inline(always)]
pub fn record_outer_tuple(reply: &FlowKey, tuple: &OuterTuple) -> bool {
    OUTER_TUPLES.insert(reply, tuple, 0).is_ok()
}

/// Until when new flows avoid an outer port of TCP or UDP, in coarse monotonic nanoseconds.
#[inline(always)]
pub fn avoided_until(protocol: u8, port: u16) -> u64 {
    match AVOIDED.get(avoided_index(protocol, port)) {
        Some(until) => *until,
        None => 0,
    }
}

/// Makes new flows avoid an outer port of TCP or UDP until a time in coarse monotonic nanoseconds.
#[inline(always)]
pub fn avoid_port(protocol: u8, port: u16, until: u64) {
    if let Some(entry) = AVOIDED.get_ptr_mut(avoided_index(protocol, port)) {
        // SAFETY: a map value, writable while the program runs; a single store.
        unsafe { *entry = until }
    }
}

/// When the node or another NAT sent an echo request whose reply has this tuple, in coarse monotonic nanoseconds.
#[inline(always)]
pub fn host_echo(reply: &FlowKey) -> Option<u64> {
    // SAFETY: as in `device`.
    unsafe { HOST_ECHOES.get(reply) }.copied()
}

/// Records an echo request of the node or of another NAT by the tuple of its reply.
#[inline(always)]
pub fn record_host_echo(reply: &FlowKey, now: u64) {
    // This fails only while other CPUs use every free element of the LRU map.
    let _ = HOST_ECHOES.insert(reply, &now, 0);
}

/// The next hop under a key.
#[inline(always)]
pub fn next_hop(key: u16) -> Option<&'static NextHop> {
    // SAFETY: as in `device`.
    unsafe { NEXT_HOPS.get(&(key as u32)) }
}

/// Stores a next hop, unless there is one under this key.
#[inline(always)]
pub fn store_next_hop(key: u16, hop: &NextHop) {
    // This fails if the key is used, or while other CPUs use every free element of the LRU map.
    let _ = NEXT_HOPS.insert(&(key as u32), hop, BPF_NOEXIST as u64);
}

/// Whether the node itself has flows.
#[inline(always)]
pub fn has_flows_of_node() -> bool {
    match USAGE.get(0) {
        Some(usage) => usage.flows > 0,
        None => false,
    }
}

/// Counts a packet.
#[inline(always)]
pub fn count(reason: Reason, bytes: usize) {
    if let Some(count) = COUNTERS_MAP.get_ptr_mut(reason as u32) {
        // SAFETY: the entry belongs to this CPU; if another program interrupts this one, at most one addition is lost.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += bytes as u64;
        }
    }
}

/// Records the address that a socket connects or sends to before it is replaced. `false` if there is no room.
#[inline(always)]
pub fn record_peer(peer: &SocketPeer, requested: &SocketAddr) -> bool {
    SOCKET_PEERS.insert(peer, requested, 0).is_ok()
}

/// The address that a socket connected or sent to before it was replaced.
#[inline(always)]
pub fn requested_peer(peer: &SocketPeer) -> Option<&'static SocketAddr> {
    // SAFETY: as in `device`.
    unsafe { SOCKET_PEERS.get(peer) }
}
