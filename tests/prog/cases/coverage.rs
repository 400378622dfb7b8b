//! Every reason is covered by a case.

use netpath_common::reason::Reason;

use crate::{SUBJECTS, limits};

/// Reasons that no case can cover, and why.
const UNREACHED: [(Reason, &str); 3] = [
    (
        Reason::Tagged,
        "a test run cannot set the VLAN tag in the metadata of a packet: `tagged` sends one through a device",
    ),
    (
        Reason::WriteFailed,
        "a test run's packet is always linear and not shared",
    ),
    (
        Reason::Internal,
        "arrays have all their entries, so no map lookup that it reports can fail",
    ),
];

/// Fails unless every reason is covered by a case or listed as unreachable.
pub fn every_reason_is_met_by_a_case() {
    let cases = SUBJECTS
        .into_iter()
        .flat_map(|(_, cases)| cases())
        .chain(limits::cases());
    let cases: Vec<_> = cases.collect();
    let met: Vec<Reason> = cases.iter().flat_map(|case| case.reasons()).collect();
    println!("{} cases, {} packets", cases.len(), met.len());
    for reason in Reason::ALL {
        let unreached = UNREACHED.iter().any(|(other, _)| other == reason);
        assert_eq!(
            met.contains(reason),
            !unreached,
            "{reason:?}: covered by a case, or listed with the reason why not"
        );
    }
}

/// Fails if two cases of a table have one name.
pub fn names_of_cases_are_distinct_within_a_table() {
    for (_, cases) in SUBJECTS {
        let mut names: Vec<_> = cases().iter().map(|case| case.name().to_owned()).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
    }
}
