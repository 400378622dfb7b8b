//! The bitmap of the ports that are published on any address of the node. The socket programs read it when a socket is bound to
//! every address.

use std::{collections::BTreeSet, ops::Range};

use netpath_common::{
    addr::{Addr, Family},
    flow::{TCP, UDP},
    maps::{AddressOwner, RESERVED_WORDS, reserved_word},
};

use super::{Tables, absent_is_none, failed};
use crate::{datapath::DatapathError, plan::tables::PortKey};

/// Bits of a word of the bitmap.
const BITS: usize = 64;

/// Number of ranges that contain each port, in the order of the bitmap: a port may be in several ranges.
#[derive(Debug)]
pub(super) struct Reserved {
    counts: Vec<u16>,
    /// The ranges that were counted.
    ranges: BTreeSet<PortKey>,
}

impl Default for Reserved {
    fn default() -> Self {
        Self {
            counts: vec![0; RESERVED_WORDS as usize * BITS],
            ranges: BTreeSet::new(),
        }
    }
}

impl Reserved {
    /// Counts a range. Returns the words of the bitmap that change.
    fn add(&mut self, key: &PortKey) -> Vec<Range<u32>> {
        if self.ranges.insert(*key) {
            self.change(key, |count| count.saturating_add(1))
        } else {
            Vec::new()
        }
    }

    /// Reverses [`Self::add`].
    fn remove(&mut self, key: &PortKey) -> Vec<Range<u32>> {
        if self.ranges.remove(key) {
            self.change(key, |count| count.saturating_sub(1))
        } else {
            Vec::new()
        }
    }

    fn change(&mut self, key: &PortKey, change: impl Fn(u16) -> u16) -> Vec<Range<u32>> {
        let protocol = key.protocol.number();
        // SCTP is not translated.
        if protocol != TCP && protocol != UDP {
            return Vec::new();
        }
        let families = match key.host_ip {
            None => [Family::V4, Family::V6].as_slice(),
            Some(ip) if ip.is_ipv4() => &[Family::V4],
            Some(_) => &[Family::V6],
        };
        let mut words = Vec::new();
        for family in families {
            let word = |port| reserved_word(*family, protocol, port);
            let count = |port| word(port) as usize * BITS + usize::from(port) % BITS;
            let counts = self.counts.get_mut(count(key.first)..=count(key.last));
            for count in counts.unwrap_or_default() {
                *count = change(*count);
            }
            words.push(word(key.first)..word(key.last) + 1);
        }
        words
    }

    fn word(&self, index: u32) -> u64 {
        let first = index as usize * BITS;
        let counts = self.counts.get(first..first + BITS).unwrap_or_default();
        let used = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.fold(0, |word, (bit, _)| word | 1 << bit)
    }
}

impl Tables {
    /// Counts a range that is in the map `ports`.
    pub(super) fn count_reserved(&mut self, key: &PortKey) -> Result<(), DatapathError> {
        if !self.is_of_sandbox(key)? {
            self.reserved.add(key);
        }
        Ok(())
    }

    /// Reserves the ports of ranges.
    pub(super) fn reserve(&mut self, keys: &[PortKey]) -> Result<(), DatapathError> {
        let mut words = Vec::new();
        for key in keys {
            if !self.is_of_sandbox(key)? {
                words.extend(self.reserved.add(key));
            }
        }
        self.write_reserved(merged(words))
    }

    /// Reverses [`Self::reserve`].
    pub(super) fn release(&mut self, keys: &[PortKey]) -> Result<(), DatapathError> {
        let words = keys
            .iter()
            .flat_map(|key| self.reserved.remove(key))
            .collect();
        self.write_reserved(merged(words))
    }

    /// Writes words of the bitmap.
    pub(super) fn write_reserved(
        &mut self,
        words: impl IntoIterator<Item = u32>,
    ) -> Result<(), DatapathError> {
        for index in words {
            let word = self.reserved.word(index);
            let set = self.reserved_ports.set(index, word, 0);
            set.map_err(failed("reserved_ports"))?;
        }
        Ok(())
    }

    /// Whether a range is published on the address of a sandbox (gateway mode `routed`), not on one of the node.
    fn is_of_sandbox(&self, key: &PortKey) -> Result<bool, DatapathError> {
        let Some(ip) = key.host_ip else {
            return Ok(false);
        };
        let record = absent_is_none("addresses", self.addresses.get(&Addr::from(ip), 0))?;
        Ok(record.is_some_and(|record| matches!(record.owner(), AddressOwner::Endpoint(_))))
    }
}

/// The numbers in some ranges, each once.
fn merged(ranges: Vec<Range<u32>>) -> BTreeSet<u32> {
    ranges.into_iter().flatten().collect()
}
