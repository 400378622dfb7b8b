//! The planned table `denied`: the deny list of the node.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Desired,
    tables::{Entry, Order},
};
use crate::model::{DenyList, deny::Denials};

/// An entry of `denied`, by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedEntry {
    /// Until when the prefix, or a shorter one that contains it, is denied, in coarse monotonic nanoseconds; `u64::MAX` if
    /// it never expires.
    pub until: u64,
}

impl Entry for DeniedEntry {
    type Key = IpNet;
    const NOUN: &'static str = "denied prefix";
    // A sandbox must not receive packets of a denied address before the entry exists.
    const ORDER: Order = Order::BeforeDevices;
    const BATCHED: bool = true;

    fn key_text(prefix: &IpNet) -> String {
        prefix.to_string()
    }
}

impl Desired {
    /// Adds the deny list.
    pub(super) fn add_denied(&mut self, list: &DenyList) {
        let entries = list.map_entries().into_iter();
        let entries = entries.map(|(prefix, until)| (prefix, DeniedEntry { until }));
        self.entries.denied = entries.collect();
    }

    /// The entries that a change of the deny list affects, before and after it, without those that stay the same.
    pub(super) fn of_denials(list: &DenyList, before: &Denials, after: &Denials) -> (Self, Self) {
        let (mut before, mut after) = list.map_entries_of_change(before, after);
        let same =
            |(prefix, until): (&IpNet, &u64)| (after.get(prefix) == Some(until)).then_some(*prefix);
        for prefix in before.iter().filter_map(same).collect::<Vec<_>>() {
            before.remove(&prefix);
            after.remove(&prefix);
        }
        let of = |entries: std::collections::BTreeMap<IpNet, u64>| {
            let mut desired = Self::default();
            let entries = entries.into_iter();
            let entries = entries.map(|(prefix, until)| (prefix, DeniedEntry { until }));
            desired.entries.denied = entries.collect();
            desired
        };
        (of(before), of(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Change, State},
        plan::{Facts, Observed, plan},
    };

    #[test]
    fn change_writes_only_entries_whose_time_changes() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let listed: Denials = [
            (net("10.1.0.0/16"), None),
            (net("10.2.0.0/16"), None),
            (net("11.0.0.0/8"), None),
        ]
        .into();
        let state = State::default().with_denials(listed);
        let change = Change::Denials {
            before: Denials::new(),
            after: [(net("10.0.0.0/8"), None)].into(),
        };
        let (before, after) = Desired::of_change(&change, &state, &Facts::default());
        let operations = plan(&after, &Observed::complete(&before));
        let lines: Vec<_> = operations.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["add denied prefix 10.0.0.0/8"]);
        let reverse = plan(&before, &Observed::complete(&after));
        let lines: Vec<_> = reverse.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["remove denied prefix 10.0.0.0/8"]);
    }
}
