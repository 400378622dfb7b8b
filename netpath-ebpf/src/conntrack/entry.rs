//! Access to the entries of the map `flows`.
//!
//! Several CPUs may use an entry at the same time. Counters change by atomic additions, the last time and the seen flags by
//! single stores, the route as well. Whichever CPU stores last, the value is valid, because all packets belong to the same
//! flow. The other fields do not change while the entry is in the map. After the removal of an entry, another entry may
//! reuse its memory while a program runs; then one packet is handled by the newer entry.

use netpath_common::{
    flow::{
        BOTH_LOCAL, DELIVER, FlowEntry, FlowKey, Kind, ORIGINAL, REPLY, REWRITE_DST, REWRITE_SRC,
        SEEN_RST, SEEN_SUSTAINED, SUSTAINED_AFTER, UNCOUNTED,
    },
    maps::Endpoint,
};

use crate::{
    helpers,
    maps::{self, BPF_NOEXIST, FLOWS},
};

/// An entry of the map `flows`.
#[derive(Clone, Copy)]
pub struct Entry(*mut FlowEntry);

const EEXIST: i32 = -17;

/// Number of bits by which nanoseconds are shifted to count periods of 1.07 s.
const ABOUT_A_SECOND: u32 = 30;

/// Why an entry was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// There is an entry with this key.
    Exists,
    /// The map is full.
    Full,
}

impl Entry {
    /// The entry with a key.
    #[inline(always)]
    pub fn find(key: &FlowKey) -> Option<Self> {
        FLOWS.get_ptr_mut(key).map(Self)
    }

    /// Inserts an entry, unless there is one with this key.
    #[inline(always)]
    pub fn insert(key: &FlowKey, entry: &FlowEntry) -> Result<(), InsertError> {
        match FLOWS.insert(key, entry, BPF_NOEXIST as u64) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(InsertError::Exists),
            Err(_) => Err(InsertError::Full),
        }
    }

    /// Removes the entry with a key. If several CPUs remove an entry, only one of them gets `true`.
    #[inline(always)]
    pub fn remove(key: &FlowKey) -> bool {
        // The only error is that there is no such entry.
        FLOWS.remove(key).is_ok()
    }

    /// The entry of the other direction. `None` while another CPU creates or removes the flow.
    #[inline(always)]
    pub fn reverse(self) -> Option<Self> {
        Self::find(&self.to().reversed())
    }

    /// [`FlowEntry::to`].
    #[inline(always)]
    pub fn to(self) -> &'static FlowKey {
        // SAFETY: a map value, readable while the program runs; see the documentation of the module.
        unsafe { &(*self.0).to }
    }

    /// [`FlowEntry::flags`].
    #[inline(always)]
    pub fn flags(self) -> u8 {
        // SAFETY: as in `to`.
        unsafe { (*self.0).flags }
    }

    /// Whether addresses or ports change.
    #[inline(always)]
    pub fn is_translated(self) -> bool {
        self.flags() & (REWRITE_SRC | REWRITE_DST) != 0
    }

    /// Whether packets are delivered to a sandbox.
    #[inline(always)]
    pub fn is_delivered(self) -> bool {
        self.flags() & DELIVER != 0
    }

    /// Whether this is the original entry of a flow that was opened from outside.
    #[inline(always)]
    pub fn is_inbound(self) -> bool {
        self.is_original() && self.flags() & (DELIVER | BOTH_LOCAL) == DELIVER
    }

    /// Whether this is the direction of the packet that opened the flow.
    #[inline(always)]
    pub fn is_original(self) -> bool {
        // SAFETY: as in `to`.
        unsafe { (*self.0).role == ORIGINAL }
    }

    /// Whether this is the reply direction.
    #[inline(always)]
    pub fn is_reply(self) -> bool {
        // SAFETY: as in `to`.
        unsafe { (*self.0).role == REPLY }
    }

    /// [`FlowEntry::seen`].
    #[inline(always)]
    pub fn seen(self) -> u8 {
        // SAFETY: as in `to`.
        unsafe { (*self.0).seen }
    }

    /// [`FlowEntry::last_seen`].
    #[inline(always)]
    pub fn last_seen(self) -> u64 {
        // SAFETY: as in `to`.
        unsafe { (*self.0).last_seen }
    }

    /// [`FlowEntry::created`].
    #[inline(always)]
    pub fn created(self) -> u64 {
        // SAFETY: as in `to`.
        unsafe { (*self.0).created }
    }

    /// [`FlowEntry::endpoint`] and [`FlowEntry::generation`].
    #[inline(always)]
    pub fn slot(self) -> (u32, u32) {
        // SAFETY: as in `to`.
        unsafe { ((*self.0).endpoint, (*self.0).generation) }
    }

    /// Whether the flow belongs to the node itself (`path::renumber`).
    #[inline(always)]
    pub fn is_of_node(self) -> bool {
        // SAFETY: as in `to`.
        unsafe { (*self.0).endpoint == 0 }
    }

    /// The local endpoint of this direction; `None` if it was removed.
    #[inline(always)]
    pub fn endpoint(self) -> Option<&'static Endpoint> {
        let (slot, generation) = self.slot();
        maps::live_endpoint(slot, generation)
    }

    /// Whether the source address is one that the node has chosen for a flow from a sandbox to the outside.
    #[inline(always)]
    pub fn is_masqueraded(self) -> bool {
        // SAFETY: as in `to`.
        self.is_original() && unsafe { (*self.0).kind == Kind::Snat as u8 }
    }

    /// [`FlowEntry::next_hop`], [`FlowEntry::mtu`] and [`FlowEntry::decided`].
    #[inline(always)]
    pub fn route(self) -> (u16, u16, u32) {
        // SAFETY: as in `to`.
        unsafe { ((*self.0).next_hop, (*self.0).mtu, (*self.0).decided) }
    }

    /// Sets [`FlowEntry::next_hop`], [`FlowEntry::mtu`] and [`FlowEntry::decided`].
    #[inline(always)]
    pub fn set_route(self, next_hop: u16, mtu: u16, decided: u32) {
        // SAFETY: as in `to`; single stores. If another CPU stores another decision at the same time, both are recent.
        unsafe {
            (*self.0).next_hop = next_hop;
            (*self.0).mtu = mtu;
            (*self.0).decided = decided;
        }
    }

    /// Records that a packet of this direction was seen, with `seen` (`SEEN_*`) in it.
    ///
    /// A segment without RST clears [`SEEN_RST`]: a forged RST must not end a flow.
    ///
    /// Returns whether the flow may have become sustained. That is the case for the first packet after [`SUSTAINED_AFTER`], and
    /// after that for about one packet a second.
    #[inline(always)]
    pub fn record_packet(self, seen: u8, packets: u64, bytes: u64) -> bool {
        // SAFETY: as in `to`; atomic additions and single stores.
        unsafe {
            helpers::add_u64(&raw mut (*self.0).packets, packets);
            helpers::add_u64(&raw mut (*self.0).bytes, bytes);
            let now = helpers::now();
            let previous = (*self.0).last_seen.saturating_sub((*self.0).created);
            let age = now.saturating_sub((*self.0).created);
            (*self.0).last_seen = now;
            let before = (*self.0).seen;
            let after = if seen & SEEN_RST != 0 {
                before | seen
            } else {
                (before & !SEEN_RST) | seen
            };
            if after != before {
                (*self.0).seen = after;
            }
            before & SEEN_SUSTAINED == 0
                && age > SUSTAINED_AFTER
                && (previous <= SUSTAINED_AFTER
                    || previous >> ABOUT_A_SECOND != age >> ABOUT_A_SECOND)
        }
    }

    /// Sets [`SEEN_SUSTAINED`].
    #[inline(always)]
    pub fn mark_sustained(self) {
        // SAFETY: as in `to`; a single store. If another CPU stores an older value at the same time, the flow is marked again
        // about a second later.
        unsafe { (*self.0).seen |= SEEN_SUSTAINED }
    }

    /// [`FlowEntry::bookkeeping`] of an original entry.
    #[inline(always)]
    pub fn index_slot(self) -> u32 {
        // SAFETY: as in `to`.
        unsafe { (*self.0).bookkeeping }
    }

    /// Sets [`FlowEntry::bookkeeping`] of an original entry.
    #[inline(always)]
    pub fn set_index_slot(self, slot: u32) {
        // SAFETY: as in `to`; a single store.
        unsafe { (*self.0).bookkeeping = slot }
    }

    /// Whether [`FlowEntry::bookkeeping`] of a reply entry says that the flow counts against the quota.
    #[inline(always)]
    pub fn is_counted(self) -> bool {
        // SAFETY: as in `to`.
        unsafe { (*self.0).bookkeeping != UNCOUNTED }
    }

    /// Sets [`FlowEntry::bookkeeping`] of a reply entry to a number that means that the flow counts against the quota. If
    /// several CPUs do, only one of them gets `true`.
    #[inline(always)]
    pub fn set_counted(self) -> bool {
        // SAFETY: as in `to`; an atomic addition.
        unsafe { helpers::fetch_add_u32(&raw mut (*self.0).bookkeeping, 1) == UNCOUNTED }
    }

    /// Clears [`FlowEntry::seen`].
    #[inline(always)]
    pub fn clear_seen(self) {
        // SAFETY: as in `to`; a single store.
        unsafe { (*self.0).seen = 0 }
    }
}
