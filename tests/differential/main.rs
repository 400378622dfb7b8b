//! The same packets through netfilter and netpath, on two nodes with equal topologies, compared field by field.
//!
//! A [sequence](sequence) is data. It is [run](compare::play) on [both nodes](pair), and the packets that arrive are
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

use run::Oracle;
use sequence::{Group, Sequence};

#[track_caller]
fn play(sequences: &[Sequence]) -> Oracle {
    let mut oracle = Oracle::new();
    for sequence in sequences {
        oracle.check(sequence);
    }
    oracle
}

/// Runs a group, which must have at least this many sequences and packets.
#[track_caller]
fn corpus(group: Group, least_sequences: usize, least_packets: usize) {
    let sequences = corpus::group(group);
    assert!(
        sequences.len() >= least_sequences,
        "{} sequences",
        sequences.len()
    );
    let oracle = play(&sequences);
    assert!(
        oracle.packets >= least_packets,
        "{} packets",
        oracle.packets
    );
    oracle.finish();
}

#[test]
fn corpus_tcp() {
    corpus(Group::Tcp, 700, 7_000);
}

#[test]
fn corpus_udp() {
    corpus(Group::Udp, 160, 2_400);
}

#[test]
fn corpus_echo() {
    corpus(Group::Echo, 90, 400);
}

#[test]
fn corpus_icmp_errors() {
    corpus(Group::IcmpErrors, 500, 4_000);
}

#[test]
fn corpus_fragments() {
    corpus(Group::Fragments, 200, 1_800);
}

#[test]
fn corpus_headers() {
    corpus(Group::Headers, 300, 3_000);
}

#[test]
fn corpus_malformed() {
    corpus(Group::Malformed, 100, 1_200);
}

#[test]
fn corpus_filtering() {
    corpus(Group::Filtering, 140, 400);
}

#[test]
fn random_sessions_have_intended_differences_only() {
    let (seed, sessions) = (random::seed(), random::sessions());
    println!("again with NETPATH_ORACLE_SEED={seed} NETPATH_ORACLE_SESSIONS={sessions}");
    let sequences: Vec<Sequence> = (0..sessions)
        .map(|number| random::session(seed, number))
        .collect();
    play(&sequences).finish();
}

/// Every intended difference must occur; an unused entry would hide defects.
#[test]
fn every_intended_difference_occurs() {
    let mut sequences = corpus::all();
    sequences.extend((0..300).map(|number| random::session(1, number)));
    let used = play(&sequences).finish();
    let idle: Vec<_> = differences::expected()
        .zip(used)
        .filter(|(_, used)| *used == 0)
        .map(|(entry, _)| format!("{} ({}): {}", entry.name, entry.row, entry.reason))
        .collect();
    assert!(idle.is_empty(), "{idle:#?}");
}
