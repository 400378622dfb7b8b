//! The maps of `netpath_common::maps`, and every access to them.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::generated::bpf_map_lookup_elem,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray},
};
use netpath_common::{
    addr::Addr,
    flow::{FlowKey, Half, UDP},
    maps::{
        Address, CURSORS, Config, Count, Cursor, DEFAULT_HALF_OPEN, Device, Endpoint, FragmentKey,
        Fragmented, Held, LEAST_DEFAULT_FLOWS, MAX_ADDRESSES, MAX_ALLOW, MAX_DEVICES,
        MAX_ENDPOINTS, MAX_FRAGMENTED, MAX_HELD, MAX_HOST_ECHOES, MAX_NETWORKS, MAX_ORPHANS,
        MAX_PORTS, MAX_SOCKET_PEERS, MAX_SUBNETS, Network, Orphan, Port, PortKey, SNAT_WORDS,
        SocketAddr, SocketPeer, Subnet, Usage,
    },
    reason::{COUNTERS, Reason},
};

use crate::{atomic, parse::Parsed, path::fragment};

#[map(name = "config")]
static CONFIG: Array<Config> = Array::pinned(1, 0);
#[map(name = "devices")]
static DEVICES: HashMap<u32, Device> = HashMap::pinned(MAX_DEVICES, BPF_F_NO_PREALLOC);
#[map(name = "endpoints")]
static ENDPOINTS: Array<Endpoint> = Array::pinned(MAX_ENDPOINTS, 0);
#[map(name = "networks")]
static NETWORKS: HashMap<u32, Network> = HashMap::pinned(MAX_NETWORKS, BPF_F_NO_PREALLOC);
#[map(name = "addresses")]
static ADDRESSES: HashMap<Addr, Address> = HashMap::pinned(MAX_ADDRESSES, BPF_F_NO_PREALLOC);
#[map(name = "subnets")]
static SUBNETS: LpmTrie<[u8; 16], Subnet> = LpmTrie::pinned(MAX_SUBNETS, 0);
#[map(name = "ports")]
static PORTS: HashMap<PortKey, Port> = HashMap::pinned(MAX_PORTS, BPF_F_NO_PREALLOC);
#[map(name = "allow")]
static ALLOW: LpmTrie<[u8; 20], u32> = LpmTrie::pinned(MAX_ALLOW, 0);
#[map(name = "snat_taken")]
static SNAT_TAKEN: Array<u64> = Array::pinned(SNAT_WORDS * 2, 0);
#[map(name = "flows")]
static FLOWS: HashMap<FlowKey, Half> = HashMap::pinned(LEAST_DEFAULT_FLOWS * 2, BPF_F_NO_PREALLOC);
#[map(name = "half_open")]
static HALF_OPEN: Array<FlowKey> = Array::pinned(DEFAULT_HALF_OPEN, 0);
#[map(name = "flow_index")]
static FLOW_INDEX: Array<FlowKey> = Array::pinned(LEAST_DEFAULT_FLOWS, 0);
#[map(name = "fragments")]
static FRAGMENTS: LruHashMap<FragmentKey, Fragmented> = LruHashMap::pinned(MAX_FRAGMENTED, 0);
#[map(name = "orphans")]
static ORPHANS: LruHashMap<FragmentKey, Orphan> = LruHashMap::pinned(MAX_ORPHANS, 0);
#[map(name = "held")]
static HELD: Array<Held> = Array::pinned(MAX_HELD, 0);
#[map(name = "host_echoes")]
static HOST_ECHOES: LruHashMap<FlowKey, u64> = LruHashMap::pinned(MAX_HOST_ECHOES, 0);
#[map(name = "cursors")]
static CURSORS_MAP: Array<u32> = Array::pinned(CURSORS, 0);
#[map(name = "usage")]
static USAGE: Array<Usage> = Array::pinned(MAX_ENDPOINTS, 0);
#[map(name = "counters")]
static COUNTS: PerCpuArray<Count> = PerCpuArray::pinned(COUNTERS, 0);
#[map(name = "socket_peers")]
static SOCKET_PEERS: LruHashMap<SocketPeer, SocketAddr> = LruHashMap::pinned(MAX_SOCKET_PEERS, 0);

#[map(name = "scratch")]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[map(name = "parsed")]
static PARSED: PerCpuArray<Parsed> = PerCpuArray::with_max_entries(2, 0);

#[map(name = "fragment_scratch")]
static FRAGMENT_SCRATCH: PerCpuArray<fragment::Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Where the packet at hand is parsed into, one for each CPU like [`Scratch`].
///
/// On the stack the verifier would remember what each path through the parser left in every field, and follow the rest
/// of the program once for each; what it loads from a map it knows nothing of.
#[inline(always)]
pub fn parsed() -> Option<&'static mut Parsed> {
    // SAFETY: as in `scratch`; all zeroes is a value too.
    PARSED.get_ptr_mut(0).map(|parsed| unsafe { &mut *parsed })
}

/// Where the packet is parsed into that an ICMP error quotes.
#[inline(always)]
pub fn quote() -> Option<&'static mut Parsed> {
    // SAFETY: as in `parsed`; the second entry is used for nothing else.
    PARSED.get_ptr_mut(1).map(|quote| unsafe { &mut *quote })
}

/// What does not fit the 512 bytes of stack while a flow is opened.
///
/// One for each CPU: TC programs run with bottom halves disabled, and one runs inside another only when it replays
/// fragments, after which it looks at nothing that is kept here.
#[repr(C)]
pub struct Scratch {
    /// The tuple after translation.
    pub to: FlowKey,
    /// Its answer.
    pub reply_key: FlowKey,
    /// A key that a ring gave up.
    pub old: FlowKey,
    /// A half on its way into the map.
    pub half: Half,
}

/// This CPU's scratch. `None` never happens: an array has all its entries.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: nothing else on this CPU uses it until the program ends (see `Scratch`), and a program asks for it once.
    SCRATCH
        .get_ptr_mut(0)
        .map(|scratch| unsafe { &mut *scratch })
}

/// This CPU's scratch for fragments. `None` never happens.
#[inline(always)]
pub fn fragment_scratch() -> Option<&'static mut fragment::Scratch> {
    // SAFETY: as in `scratch`, with one exception: what replays fragments reads the turns while programs run inside it. One
    // of those writes them only if another CPU has held a fragment of the same datagram at that moment; then others of
    // it are replayed. All of it is plain numbers, whose every value is looked up and checked.
    FRAGMENT_SCRATCH
        .get_ptr_mut(0)
        .map(|scratch| unsafe { &mut *scratch })
}

/// A key of `subnets`, from its length on. The stack allows aligned access only, so the padding stands before it.
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
#[inline(always)]
unsafe fn search<K, V>(map: *const LpmTrie<K, V>, key: *const c_void) -> Option<&'static V> {
    // SAFETY: by contract; a map's static is its definition, which the loader replaces by the map itself, and an
    // element that is found stays while the program runs.
    unsafe {
        bpf_map_lookup_elem(map.cast_mut().cast(), key)
            .cast::<V>()
            .as_ref()
    }
}

/// The node's settings. `None` never happens: an array has all its entries.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// What a device is to netpath.
#[inline(always)]
pub fn device(ifindex: u32) -> Option<&'static Device> {
    // SAFETY: the memory of an element stays an element's while a program runs. It may become another one's when it was
    // removed meanwhile; then at worst one packet is judged by the newer entry.
    unsafe { DEVICES.get(&ifindex) }
}

/// The endpoint in a slot, whether or not it is in use.
#[inline(always)]
pub fn endpoint(slot: u32) -> Option<&'static Endpoint> {
    ENDPOINTS.get(slot)
}

/// The endpoint in a slot, if it is still of this generation.
#[inline(always)]
pub fn live_endpoint(slot: u32, generation: u32) -> Option<&'static Endpoint> {
    let endpoint = ENDPOINTS.get(slot)?;
    if endpoint.generation == generation && endpoint.ifindex != 0 {
        Some(endpoint)
    } else {
        None
    }
}

/// Whose an address is.
#[inline(always)]
pub fn address(addr: &Addr) -> Option<&'static Address> {
    // SAFETY: as in `device`.
    unsafe { ADDRESSES.get(addr) }
}

/// The subnet of ours that holds an address.
#[inline(always)]
pub fn subnet(addr: Addr) -> Option<&'static Subnet> {
    let key = PrefixKey {
        pad: 0,
        length: 128,
        address: addr,
    };
    // SAFETY: the key begins at `length` and has the 20 bytes of the map's key size.
    unsafe { search(&raw const SUBNETS, (&raw const key.length).cast()) }
}

/// The published range under a key.
#[inline(always)]
pub fn port(key: &PortKey) -> Option<&'static Port> {
    // SAFETY: as in `device`.
    unsafe { PORTS.get(key) }
}

/// Whether an allow-list holds a source.
#[inline(always)]
pub fn allowed(list: u32, source: Addr) -> bool {
    let key = AllowKey {
        length: 32 + 128,
        list,
        address: source,
    };
    // SAFETY: the key has the 24 bytes of the map's key size.
    unsafe { search(&raw const ALLOW, (&raw const key).cast()) }.is_some()
}

/// Whether SNAT must leave a port alone.
#[inline(always)]
pub fn snat_taken(protocol: u8, port: u16) -> bool {
    let base = if protocol == UDP { SNAT_WORDS } else { 0 };
    match SNAT_TAKEN.get(base + (port as u32 >> 6)) {
        Some(word) => word & (1 << (port & 63)) != 0,
        None => true,
    }
}

/// A half of a flow.
///
/// Several CPUs may hold it; its fields are changed by atomic additions and by whole-word stores that are right
/// whichever of them lands last.
#[inline(always)]
pub fn flow(key: &FlowKey) -> Option<*mut Half> {
    FLOWS.get_ptr_mut(key)
}

/// Inserts a half unless there is one. The error is the kernel's number, negative.
#[inline(always)]
pub fn claim_flow(key: &FlowKey, half: &Half) -> Result<(), i32> {
    FLOWS.insert(key, half, BPF_NOEXIST as u64)
}

/// Removes a half; whether there was one.
#[inline(always)]
pub fn remove_flow(key: &FlowKey) -> bool {
    // The one error there is says that it was gone already.
    FLOWS.remove(key).is_ok()
}

/// What the sandbox in a slot uses, if the slot is of this generation there.
#[inline(always)]
pub fn usage(slot: u32, generation: u32) -> Option<*mut Usage> {
    let usage = USAGE.get_ptr_mut(slot)?;
    // SAFETY: a map value, readable while the program runs.
    (unsafe { (*usage).generation } == generation).then_some(usage)
}

/// A place of the index of all flows.
#[inline(always)]
pub fn index_place(place: u32) -> Option<*mut FlowKey> {
    FLOW_INDEX.get_ptr_mut(place)
}

/// When the node itself has sent an echo request that this tuple answers; coarse monotonic nanoseconds.
#[inline(always)]
pub fn host_echo(answer: &FlowKey) -> Option<u64> {
    // SAFETY: as in `device`.
    unsafe { HOST_ECHOES.get(answer) }.copied()
}

/// Remembers an echo request of the node by the tuple that answers it.
#[inline(always)]
pub fn note_host_echo(answer: &FlowKey, now: u64) {
    // The one error there is says that every entry is being changed by another CPU at this moment.
    let _ = HOST_ECHOES.insert(answer, &now, 0);
}

/// A datagram whose first fragment was seen.
#[inline(always)]
pub fn fragmented(key: &FragmentKey) -> Option<*mut Fragmented> {
    FRAGMENTS.get_ptr_mut(key)
}

/// Remembers a datagram whose first fragment was seen.
#[inline(always)]
pub fn put_fragmented(key: &FragmentKey, entry: &Fragmented) {
    // The one error there is says that every entry is being changed by another CPU at this moment.
    let _ = FRAGMENTS.insert(key, entry, 0);
}

/// Forgets a datagram; absence is success.
#[inline(always)]
pub fn remove_fragmented(key: &FragmentKey) {
    let _ = FRAGMENTS.remove(key);
}

/// A datagram whose first fragment is late.
#[inline(always)]
pub fn orphan(key: &FragmentKey) -> Option<*mut Orphan> {
    ORPHANS.get_ptr_mut(key)
}

/// Remembers a datagram whose first fragment is late, unless it is known.
#[inline(always)]
pub fn claim_orphan(key: &FragmentKey, orphan: &Orphan) {
    // The caller looks whether it is there now, by whomever.
    let _ = ORPHANS.insert(key, orphan, BPF_NOEXIST as u64);
}

/// Forgets it; absence is success.
#[inline(always)]
pub fn remove_orphan(key: &FragmentKey) {
    let _ = ORPHANS.remove(key);
}

/// The place of a turn of the ring of held fragments.
#[inline(always)]
pub fn held(turn: u32) -> Option<*mut Held> {
    HELD.get_ptr_mut(turn & (MAX_HELD - 1))
}

/// The next turn of a cursor.
#[inline(always)]
pub fn turn(ring: Cursor) -> Option<u32> {
    Some(atomic::fetch_add_u32(cursor(ring)?, 1))
}

/// The next place of a ring of `mask + 1` places, to be read and then overwritten.
#[inline(always)]
pub fn ring_place(ring: Cursor, mask: u32) -> Option<*mut FlowKey> {
    let place = turn(ring)? & mask;
    match ring {
        Cursor::HalfOpen => HALF_OPEN.get_ptr_mut(place),
        Cursor::FlowIndex => index_place(place),
        Cursor::Reclaim | Cursor::Held | Cursor::FragmentId => None,
    }
}

/// A cursor itself: how many places it has given.
#[inline(always)]
pub fn cursor(ring: Cursor) -> Option<*mut u32> {
    CURSORS_MAP.get_ptr_mut(ring as u32)
}

/// Counts a packet.
#[inline(always)]
pub fn count(reason: Reason, bytes: usize) {
    if let Some(count) = COUNTS.get_ptr_mut(reason as u32) {
        // SAFETY: the entry is this CPU's own; a program that interrupts this one can at worst lose one addition.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += bytes as u64;
        }
    }
}

/// Remembers what a socket asked for.
#[inline(always)]
pub fn remember_peer(peer: &SocketPeer, asked: &SocketAddr) -> bool {
    SOCKET_PEERS.insert(peer, asked, 0).is_ok()
}

/// What a socket asked for.
#[inline(always)]
pub fn asked_peer(peer: &SocketPeer) -> Option<&'static SocketAddr> {
    // SAFETY: as in `device`.
    unsafe { SOCKET_PEERS.get(peer) }
}
