//! A hash that is unpredictable without its key.

/// Two rounds of a 64-bit multiply-xorshift (the finaliser of SplitMix64). `state` is the key combined with a part of the value
/// by exclusive or, `other` is the other part.
#[inline(always)]
pub fn keyed_hash(mut state: u64, other: u64) -> u32 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^= other;
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state >> 32) as u32
}
