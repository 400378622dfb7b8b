//! Values of the map `fragments`.

use netpath_common::maps::{FragmentKey, KnownDatagram};

use super::payload_length;
use crate::{
    helpers,
    maps::{self, FRAGMENTS},
    parse::Parsed,
};

/// The slot that no endpoint has: the datagram is not translated.
pub(super) const NO_ENDPOINT: u32 = 0;

/// A value of the map `fragments`. Several CPUs may use it, and the LRU map may reuse its memory for another datagram at any
/// time, so values are copied before they are used.
#[derive(Clone, Copy)]
pub(super) struct Stored(*mut KnownDatagram);

impl Stored {
    /// The value with a key.
    #[inline(always)]
    pub(super) fn find(key: &FragmentKey) -> Option<Self> {
        FRAGMENTS.get_ptr_mut(key).map(Self)
    }

    /// The value.
    #[inline(always)]
    pub(super) fn value(self) -> &'static KnownDatagram {
        // SAFETY: a map value, readable while the program runs.
        unsafe { &*self.0 }
    }

    /// Whether the first fragment of an untranslated datagram passed within `limit` nanoseconds before `now`.
    #[inline(always)]
    pub(super) fn is_untranslated(self, now: u64, limit: u64) -> bool {
        let value = self.value();
        let (endpoint, last_seen) = (value.endpoint, value.last_seen);
        endpoint == NO_ENDPOINT && now.saturating_sub(last_seen) <= limit
    }

    /// Whether the first fragment of a translated datagram passed at `time` or later.
    #[inline(always)]
    pub(super) fn is_translated_since(self, time: u64) -> bool {
        let value = self.value();
        value.last_seen >= time && maps::live_endpoint(value.endpoint, value.generation).is_some()
    }

    /// Adds the bytes of a fragment. Returns whether all bytes of the datagram have passed.
    #[inline(always)]
    pub(super) fn add_bytes(self, parsed: &Parsed) -> bool {
        let length = payload_length(parsed);
        // SAFETY: as in `value`; an atomic addition and a single store.
        unsafe {
            let bytes = helpers::fetch_add_u32(&raw mut (*self.0).bytes, length);
            if parsed.fragment.is_last {
                (*self.0).total = parsed.fragment.datagram_offset.wrapping_add(length);
            }
            let total = (*self.0).total;
            total != 0 && bytes.wrapping_add(length) >= total
        }
    }
}
