//! The same packets through netfilter and netpath, in twin topologies, compared field by field.
//!
//! A [sequence](sequence) is data; it is [played](compare::play) on both [twins](twin), and what everybody received is
//! [compared](compare::compare). What netpath does otherwise on purpose stands in [`differences`].
#![expect(
    clippy::expect_used,
    reason = "what tests share fails as they do, by panicking with what was expected"
)]

mod compare;
mod control;
mod corpus;
mod differences;
mod random;
mod run;
mod sequence;
mod twin;
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

/// Plays a group, which must have so many sequences and packets at least.
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
fn random() {
    let (seed, sessions) = (random::seed(), random::sessions());
    println!("again with NETPATH_ORACLE_SEED={seed} NETPATH_ORACLE_SESSIONS={sessions}");
    let sequences: Vec<Sequence> = (0..sessions)
        .map(|number| random::session(seed, number))
        .collect();
    play(&sequences).finish();
}

/// What is meant to differ does differ; an entry that nothing needs hides defects.
#[test]
fn every_entry_of_the_list_is_used() {
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
