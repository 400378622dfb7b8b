//! Identifications of translated datagrams.

use netpath_common::{addr::Family, maps::Cursor};

use crate::{maps::Sequence, parse::Parsed};

/// An identification that differs from those of the last 65,536 (IPv4) or 4 billion (IPv6) translated datagrams: a counter,
/// in an order that depends on `key`, so that one identification does not reveal the next (RFC 7739 §5.3).
#[inline(always)]
pub(super) fn new_id(parsed: &Parsed, key: u64) -> u32 {
    let Some(count) = Sequence::of(Cursor::FragmentId).map(Sequence::take) else {
        return parsed.fragment.id;
    };
    // A Feistel network is a bijection with any round function. IPv4 uses half of the bits.
    let bits = match parsed.family {
        Family::V4 => 8,
        Family::V6 => 16,
    };
    let mask = (1_u32 << bits) - 1;
    let (mut left, mut right) = ((count >> bits) & mask, count & mask);
    for round in 0..4 {
        let mixed =
            (right as u64 ^ key.rotate_left(16 * round)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (left, right) = (right, left ^ ((mixed >> 40) as u32 & mask));
    }
    left << bits | right
}
