//! Maps that are rings: the index of all flows, and the half-open flows of each endpoint and direction.

use core::mem::offset_of;

use netpath_common::{
    flow::FlowKey,
    maps::{Config, Cursor, HALF_OPEN_BLOCK, Usage},
};

use super::{CURSORS_MAP, FLOW_INDEX, HALF_OPEN, USAGE};
use crate::helpers;

/// A sequence number that several CPUs read and advance.
#[derive(Clone, Copy)]
pub struct Sequence(*mut u32);

impl Sequence {
    /// The sequence number of a ring.
    #[inline(always)]
    pub fn of(ring: Cursor) -> Option<Self> {
        CURSORS_MAP.get_ptr_mut(ring as u32).map(Self)
    }

    /// The sequence number in a field of a map value.
    #[inline(always)]
    pub(crate) fn in_value(field: *mut u32) -> Self {
        Self(field)
    }

    /// Takes the next number. No other CPU gets the same number.
    #[inline(always)]
    pub fn take(self) -> u32 {
        helpers::fetch_add_u32(self.0, 1)
    }

    /// The next number.
    #[inline(always)]
    pub fn get(self) -> u32 {
        // SAFETY: a map value, readable while the program runs.
        unsafe { *self.0 }
    }

    /// Sets the next number.
    #[inline(always)]
    pub fn set(self, next: u32) {
        // SAFETY: as in `get`; a single store.
        unsafe { *self.0 = next }
    }
}

/// Copies the key in a slot of the index of all flows. `false` if there is no such slot.
///
/// If another CPU writes the slot at the same time, the copied key matches no flow.
#[inline(always)]
pub fn copy_index_key(slot: u32, key: &mut FlowKey) -> bool {
    let Some(found) = FLOW_INDEX.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: a map value, readable while the program runs.
    key.copy_from(unsafe { &*found });
    true
}

/// Stores a key in a slot of the index of all flows.
#[inline(always)]
pub fn store_index_key(slot: u32, key: &FlowKey) {
    if let Some(found) = FLOW_INDEX.get_ptr_mut(slot) {
        // SAFETY: a map value. If two CPUs write the slot at the same time, it may contain parts of two keys, which match no
        // flow.
        unsafe { (*found).copy_from(key) }
    }
}

/// Takes the next slot of the index of all flows.
#[inline(always)]
pub fn next_index_slot(mask: u32) -> u32 {
    // Never `None` at run time: every entry of an array map exists.
    Sequence::of(Cursor::FlowIndex).map_or(0, |sequence| sequence.take() & mask)
}

/// The ring of half-open flows of one endpoint and direction.
#[derive(Clone, Copy)]
pub struct HalfOpenRing {
    usage: *mut Usage,
    /// Number of the first element.
    base: u32,
    /// Number of elements, minus one.
    mask: u32,
    owner: u32,
    direction: u32,
}

impl HalfOpenRing {
    /// The ring of a direction of the endpoint in a slot; `None` if the slot has another generation.
    #[inline(always)]
    pub fn find(config: &Config, owner: u32, generation: u32, direction: u32) -> Option<Self> {
        let usage = USAGE.get_ptr_mut(owner)?;
        // SAFETY: a map value, readable while the program runs.
        if unsafe { (*usage).generation } != generation {
            return None;
        }
        let mask = config.half_open_mask;
        let size = mask.wrapping_add(1);
        Some(Self {
            usage,
            base: (owner * 2 + direction).wrapping_mul(size),
            mask,
            owner,
            direction,
        })
    }

    /// Slot of the endpoint.
    #[inline(always)]
    pub fn owner(self) -> u32 {
        self.owner
    }

    /// [`OUTBOUND`](netpath_common::maps::OUTBOUND) or [`INBOUND`](netpath_common::maps::INBOUND).
    #[inline(always)]
    pub fn direction(self) -> u32 {
        self.direction
    }

    /// Takes the next element; returns its sequence number.
    #[inline(always)]
    pub fn take(self) -> u32 {
        Sequence(self.field(offset_of!(Usage, half_open_next))).take()
    }

    /// Sets the sequence number of the next element.
    #[inline(always)]
    pub fn skip_to(self, next: u32) {
        Sequence(self.field(offset_of!(Usage, half_open_next))).set(next);
    }

    /// The slot of the index that an element refers to; a slot that does not exist if the element is empty.
    #[inline(always)]
    pub fn slot(self, sequence: u32) -> u32 {
        match self.element(sequence) {
            // SAFETY: as in `find`.
            Some(element) => unsafe { *element }.wrapping_sub(1),
            None => u32::MAX,
        }
    }

    /// Makes an element refer to a slot of the index.
    #[inline(always)]
    pub fn set_slot(self, sequence: u32, slot: u32) {
        if let Some(element) = self.element(sequence) {
            // SAFETY: as in `find`; a single store.
            unsafe { *element = slot.wrapping_add(1) }
        }
    }

    /// [`Usage::half_open_share`].
    #[inline(always)]
    pub fn share(self) -> u32 {
        // SAFETY: as in `find`.
        unsafe { *self.field(offset_of!(Usage, half_open_share)) }
    }

    /// Sets [`Usage::half_open_share`].
    #[inline(always)]
    pub fn set_share(self, share: u32) {
        // SAFETY: as in `find`; a single store.
        unsafe { *self.field(offset_of!(Usage, half_open_share)) = share }
    }

    /// Counts an evicted flow.
    #[inline(always)]
    pub fn count_eviction(self) {
        helpers::fetch_add_u32(self.field(offset_of!(Usage, evicted_half_open)), 1);
    }

    /// The number of this direction in the pair at `offset`.
    #[inline(always)]
    fn field(self, offset: usize) -> *mut u32 {
        let direction = (self.direction & 1) as usize;
        // SAFETY: the callers pass offsets of pairs of numbers.
        unsafe { self.usage.byte_add(offset).cast::<u32>().add(direction) }
    }

    #[inline(always)]
    fn element(self, sequence: u32) -> Option<*mut u32> {
        let number = self.base.wrapping_add(sequence & self.mask);
        let block = HALF_OPEN.get_ptr_mut(number / HALF_OPEN_BLOCK)?;
        let place = (number % HALF_OPEN_BLOCK) as usize;
        // SAFETY: a map value with `HALF_OPEN_BLOCK` elements.
        Some(unsafe { (&raw mut (*block).elements).cast::<u32>().add(place) })
    }
}
