//! Published port ranges in a hash map: one entry for a range of any length.
//!
//! Every range of ports `[first, last]` has one smallest aligned block of `2^level` ports that contains it. The block
//! is the key, the range is the value. A range contains both ports in the middle of its block, so two ranges without a
//! common port never have the same block. The lookup of a port looks up the block that contains it at each level (at
//! most 17). A mask of the levels in use reduces this to one lookup on hosts that publish single ports only, and one
//! more lookup for each other level in use.

/// Number of levels: a single port is level 0, all ports are level 16.
pub const LEVELS: u8 = 17;

/// The level of the smallest aligned block that contains `first..=last`.
#[inline(always)]
pub const fn level(first: u16, last: u16) -> u8 {
    (16 - (first ^ last).leading_zeros()) as u8
}

/// The number of the block that contains `port` at `level`.
#[inline(always)]
pub const fn block(port: u16, level: u8) -> u16 {
    ((port as u32) >> level) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_port_is_its_own_block() {
        assert_eq!((level(80, 80), block(80, 0)), (0, 80));
        assert_eq!((level(0, 65535), block(443, 16)), (16, 0));
    }

    proptest! {
        #[test]
        fn every_port_of_a_range_has_its_block(a: u16, b: u16, inside: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let port = first + inside % (last - first).saturating_add(1).max(1);
            let level = level(first, last);
            prop_assert!(level < LEVELS);
            prop_assert_eq!(block(port, level), block(first, level));
        }

        #[test]
        fn disjoint_ranges_have_different_blocks(a: u16, b: u16, c: u16, d: u16) {
            let mut ports = [a, b, c, d];
            ports.sort_unstable();
            let [a, b, c, d] = ports;
            prop_assume!(b < c);
            prop_assert_ne!((level(a, b), block(a, level(a, b))), (level(c, d), block(c, level(c, d))));
        }
    }
}
