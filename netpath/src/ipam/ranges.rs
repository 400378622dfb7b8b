//! A set of numbers, stored as disjoint ranges that are not adjacent.

use std::collections::BTreeMap;

/// A set of numbers. Its memory is proportional to the number of ranges, not to the number of elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    last_by_first: BTreeMap<u128, u128>,
}

impl Ranges {
    /// Whether `number` is in the set.
    pub fn contains(&self, number: u128) -> bool {
        self.containing(number).is_some()
    }

    /// First and last number of each range, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        let ranges = self.last_by_first.iter();
        ranges.map(|(first, last)| (*first, *last))
    }

    /// Adds `first..=last`.
    pub fn insert(&mut self, first: u128, last: u128) {
        let (mut first, mut last) = (first, last);
        while let Some((other_first, other_last)) = self.touching(first, last) {
            first = first.min(other_first);
            last = last.max(other_last);
            self.last_by_first.remove(&other_first);
        }
        self.last_by_first.insert(first, last);
    }

    /// Removes `first..=last`; numbers that are not in the set are ignored.
    pub fn remove(&mut self, first: u128, last: u128) {
        while let Some((other_first, other_last)) = self.overlapping(first, last) {
            self.last_by_first.remove(&other_first);
            if other_first < first {
                self.last_by_first.insert(other_first, first - 1);
            }
            if other_last > last {
                self.last_by_first.insert(last + 1, other_last);
            }
        }
    }

    /// The lowest number in `from..=to` that is not in the set.
    pub fn first_free(&self, from: u128, to: u128) -> Option<u128> {
        let free = match self.containing(from) {
            None => from,
            Some((_, last)) => last.checked_add(1)?,
        };
        (free <= to).then_some(free)
    }

    /// The lowest number in `from..=to` that is in neither set.
    pub fn first_free_excluding(&self, other: &Self, mut from: u128, to: u128) -> Option<u128> {
        loop {
            let free = self.first_free(from, to)?;
            if !other.contains(free) {
                return Some(free);
            }
            from = other.first_free(free, to)?;
        }
    }

    /// The last range of the set that overlaps `first..=last`.
    pub fn overlapping(&self, first: u128, last: u128) -> Option<(u128, u128)> {
        self.last_by_first
            .range(..=last)
            .next_back()
            .map(|(&first, &last)| (first, last))
            .filter(|&(_, other_last)| other_last >= first)
    }

    fn containing(&self, number: u128) -> Option<(u128, u128)> {
        self.overlapping(number, number)
    }

    fn touching(&self, first: u128, last: u128) -> Option<(u128, u128)> {
        self.overlapping(first.saturating_sub(1), last.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn largest_number_is_supported() {
        let mut ranges = Ranges::default();
        ranges.insert(u128::MAX, u128::MAX);
        assert!(ranges.contains(u128::MAX));
        assert_eq!(ranges.first_free(u128::MAX, u128::MAX), None);
        assert_eq!(
            ranges.first_free(u128::MAX - 1, u128::MAX),
            Some(u128::MAX - 1)
        );
    }

    proptest! {
        #[test]
        fn first_free_number_is_in_neither_set(
            one in prop::collection::vec(0_u128..40, 0..30),
            other in prop::collection::vec(0_u128..40, 0..30),
        ) {
            let set = |numbers: &[u128]| {
                let mut ranges = Ranges::default();
                numbers.iter().for_each(|&number| ranges.insert(number, number));
                ranges
            };
            let free = (0..30).find(|number| !one.contains(number) && !other.contains(number));
            prop_assert_eq!(set(&one).first_free_excluding(&set(&other), 0, 29), free);
        }

        #[test]
        fn ranges_match_btreeset(steps in prop::collection::vec((any::<bool>(), 0_u128..60, 0_u128..8), 0..60)) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (insert, first, length) in steps {
                let last = first + length;
                if insert {
                    ranges.insert(first, last);
                    set.extend(first..=last);
                } else {
                    ranges.remove(first, last);
                    set.retain(|number| !(first..=last).contains(number));
                }
            }
            for number in 0..80 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
                let free = (number..80).find(|candidate| !set.contains(candidate));
                prop_assert_eq!(ranges.first_free(number, 79), free);
            }
            let firsts: Vec<_> = ranges.last_by_first.iter().collect();
            for pair in firsts.windows(2) {
                prop_assert!(*pair[0].1 + 1 < *pair[1].0, "ranges are merged");
            }
        }
    }
}
