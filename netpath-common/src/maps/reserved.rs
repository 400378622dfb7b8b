//! The bitmap of the ports that are published on any address.

use crate::{addr::Family, flow::UDP};

/// Words of one bitmap: 65,536 ports, 64 in each word.
const WORDS: u32 = 1_024;
/// Words of `reserved_ports`: one bitmap for each family and protocol, TCP before UDP.
pub const RESERVED_WORDS: u32 = 4 * WORDS;

/// Index of the word of `reserved_ports` that contains a port of TCP or UDP. The bit is `port % 64`.
#[inline(always)]
pub const fn reserved_word(family: Family, protocol: u8, port: u16) -> u32 {
    let bitmap = 2 * (family as u32) + (protocol == UDP) as u32;
    bitmap * WORDS + (port as u32 >> 6)
}
