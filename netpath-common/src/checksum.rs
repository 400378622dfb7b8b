//! The Internet checksum, updated in place (RFC 1071, RFC 1624).
//!
//! The checksum is the ones' complement of the ones'-complement sum of 16-bit words. That sum does not depend on byte
//! order (RFC 1071 §2 B): words can be added in memory order, and the result is stored in memory order, on either
//! endianness. No function swaps bytes: all take and return words in memory order.
//!
//! An update follows RFC 1624 equation 3, `HC' = ~(~HC + ~m + m')`: [`Diff`] collects `~m + m'` over any number of
//! words, and is applied once. The checksum is not recomputed from the data, so it stays wrong for a corrupt packet.

/// The change of a ones'-complement sum by a rewrite.
#[derive(Clone, Copy, Default)]
pub struct Diff(u64);

impl Diff {
    /// No change.
    #[inline(always)]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Adds the change of a raw 32-bit word from `old` to `new`.
    #[inline(always)]
    pub const fn replace_u32(self, old: u32, new: u32) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Adds the change of a raw 16-bit word from `old` to `new`.
    #[inline(always)]
    pub const fn replace_u16(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// The sum of both differences.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The difference folded to 32 bits, the form that `bpf_l4_csum_replace` takes with size 0.
    #[inline(always)]
    pub const fn folded(self) -> u32 {
        let once = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((once & 0xffff_ffff) + (once >> 32)) as u32
    }

    /// The checksum field after the change (RFC 1624 equation 3). Both are raw words.
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        let sum = (!checksum) as u64 + (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }
}

/// The checksum over `bytes`, in memory order (RFC 1071). For tests and user space: programs only update checksums.
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The ones'-complement sum of the words of `bytes` in memory order; an odd last byte is padded with zero.
pub fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest
        .first()
        .map_or(0, |byte| u16::from_ne_bytes([*byte, 0]));
    pairs
        .iter()
        .map(|pair| u64::from(u16::from_ne_bytes(*pair)))
        .sum::<u64>()
        + u64::from(last)
}

/// A sum folded to 16 bits.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether two values are equal in ones' complement, where zero has two forms.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a.is_multiple_of(0xffff) && b.is_multiple_of(0xffff))
    }

    #[test]
    fn sum_matches_rfc_1071_example() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&data)).to_be(), 0xddf2);
    }

    proptest! {
        #[test]
        fn update_equals_recomputation(
            mut data in proptest::collection::vec(any::<u8>(), 8..64), new_u32: u32, new_u16: u16,
        ) {
            data.truncate(data.len() / 2 * 2);
            let before = checksum(&data);
            let old_u32 = u32::from_ne_bytes([data[0], data[1], data[2], data[3]]);
            let old_u16 = u16::from_ne_bytes([data[4], data[5]]);
            data[..4].copy_from_slice(&new_u32.to_ne_bytes());
            data[4..6].copy_from_slice(&new_u16.to_ne_bytes());
            let updated = Diff::none().replace_u32(old_u32, new_u32).replace_u16(old_u16, new_u16).apply(before);
            prop_assert!(same(updated, checksum(&data)));
        }

        #[test]
        fn wrong_checksum_stays_wrong_after_update(data in proptest::collection::vec(any::<u8>(), 8), error in 1..0xffff_u16) {
            let right = checksum(&data);
            let wrong = right ^ error;
            prop_assume!(!same(right, wrong));
            let diff = Diff::none().replace_u32(0x0102_0304, 0x0a0b_0c0d);
            prop_assert!(!same(diff.apply(right), diff.apply(wrong)));
        }
    }
}
