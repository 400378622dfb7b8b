//! The block levels in use by published ranges.

use netpath_common::portmap;

use crate::plan::tables;

/// Number of ranges at each level, for exact, family-wide and node-wide addresses.
#[derive(Debug, Default)]
pub(super) struct Levels([[u32; portmap::LEVELS as usize]; 3]);

impl Levels {
    pub(super) fn add(&mut self, key: &tables::PortKey) {
        if let Some(count) = self.place(key) {
            *count += 1;
        }
    }

    pub(super) fn remove(&mut self, key: &tables::PortKey) {
        if let Some(count) = self.place(key) {
            *count = count.saturating_sub(1);
        }
    }

    /// The levels in use, as bit masks.
    pub(super) fn masks(&self) -> [u32; 3] {
        self.0.map(|counts| {
            counts
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .fold(0, |mask, (level, _)| mask | 1 << level)
        })
    }

    fn place(&mut self, key: &tables::PortKey) -> Option<&mut u32> {
        let class = match key.host_ip {
            Some(ip) if !ip.is_unspecified() => 0,
            Some(_) => 1,
            None => 2,
        };
        self.0
            .get_mut(class)?
            .get_mut(usize::from(portmap::level(key.first, key.last)))
    }
}
