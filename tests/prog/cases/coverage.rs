//! Every reason is covered by a case.

use netpath_common::reason::{Reason, Verdict};

use crate::{SUBJECTS, limits};

/// Reasons that no case can cover, and why.
const UNREACHED: [(Reason, &str); 3] = [
    (
        Reason::WriteFailed,
        "the packet of a test run is always linear and not shared, so writes do not fail",
    ),
    (
        Reason::Queued,
        "the packet of a test run comes from no other program",
    ),
    (
        Reason::Internal,
        "every entry of an array map exists, so the lookups that it reports cannot fail",
    ),
];

/// Fails unless every reason is covered by a case or listed as unreachable.
pub fn every_reason_is_covered_by_a_case() {
    let cases = SUBJECTS
        .into_iter()
        .flat_map(|(_, cases)| cases())
        .chain(limits::cases());
    let cases: Vec<_> = cases.collect();
    let covered: Vec<Reason> = cases.iter().flat_map(|case| case.reasons()).collect();
    println!("{} cases, {} packets", cases.len(), covered.len());
    // Evictions are counted in addition to the reason of a packet. `class5_fairness` of the program tests covers them.
    let packets = Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() != Verdict::Evict);
    for reason in packets {
        let unreached = UNREACHED.iter().any(|(other, _)| other == reason);
        assert_eq!(
            covered.contains(reason),
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
