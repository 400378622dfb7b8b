//! The same packets through netfilter and netpath, on two nodes with equal topologies, compared field by field.
//!
//! A [sequence](sequence) is data. It is [run](compare::execute) on [both nodes](pair), and the packets that arrive are
//! [compared](compare::compare). Intended differences are listed in [`differences`].
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

mod compare;
mod control;
mod corpus;
mod differences;
mod pair;
mod random;
mod run;
mod sequence;
mod wire;

use std::process::ExitCode;

use netpath_tests::{checks, table};

use run::Oracle;
use sequence::Group;

/// The groups of the corpus as tables, with the least numbers of sequences and of packets that arrive.
const GROUPS: [(&str, Group, usize, usize); 8] = [
    ("corpus_tcp", Group::Tcp, 700, 7_000),
    ("corpus_udp", Group::Udp, 160, 2_400),
    ("corpus_echo", Group::Echo, 90, 400),
    ("corpus_icmp_errors", Group::IcmpErrors, 500, 4_000),
    ("corpus_fragments", Group::Fragments, 200, 1_800),
    ("corpus_headers", Group::Headers, 300, 3_000),
    ("corpus_malformed", Group::Malformed, 100, 1_200),
    ("corpus_filtering", Group::Filtering, 140, 400),
];

fn main() -> ExitCode {
    let tables = GROUPS.map(|(name, group, ..)| run::table(name, group));
    let checks = checks![
        control::equal_packets_have_no_difference,
        control::every_changed_field_is_found,
        control::packet_at_one_node_only_is_found,
        control::changed_port_within_a_sequence_is_found,
        control::difference_in_a_quoted_packet_is_found,
        control::node_without_forwarding_is_found,
        random_sessions_have_intended_differences_only,
        corpus_is_complete_and_every_intended_difference_occurs,
    ];
    table::main(tables.into(), checks)
}

fn random_sessions_have_intended_differences_only() {
    let (seed, sessions) = (random::seed(), random::sessions());
    println!("repeat with NETPATH_ORACLE_SEED={seed} NETPATH_ORACLE_SESSIONS={sessions}");
    let mut oracle = Oracle::new();
    for number in 0..sessions {
        oracle.check(&random::session(seed, number));
    }
    oracle.finish();
}

/// Every intended difference must occur, because an unused entry would hide defects.
fn corpus_is_complete_and_every_intended_difference_occurs() {
    let mut oracle = Oracle::new();
    for (name, group, least_sequences, least_packets) in GROUPS {
        let before = oracle.packets;
        let sequences = corpus::group(group);
        sequences.iter().for_each(|sequence| {
            oracle.check(sequence);
        });
        let (count, packets) = (sequences.len(), oracle.packets - before);
        assert!(count >= least_sequences, "{name}: {count} sequences");
        assert!(packets >= least_packets, "{name}: {packets} packets");
    }
    for number in 0..300 {
        oracle.check(&random::session(1, number));
    }
    let used = oracle.finish();
    let unused: Vec<_> = differences::expected()
        .zip(used)
        .filter(|(_, used)| *used == 0)
        .map(|(entry, _)| format!("{} ({}): {}", entry.name, entry.row, entry.reason))
        .collect();
    assert!(unused.is_empty(), "{unused:#?}");
}
