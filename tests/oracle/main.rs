//! The same packets through netfilter and netpath, in twin topologies, compared field by field.
//!
//! A [sequence](sequence) is data; it is [played](compare::play) on both [twins](twin), and what everybody received is
//! [compared](compare::compare). What netpath does otherwise on purpose stands in [`differences`].
#![expect(
    clippy::expect_used,
    reason = "what tests share fails as they do, by panicking with what was expected"
)]

mod compare;
mod corpus;
mod decode;
mod differences;
mod fragments;
mod random;
mod run;
mod sequence;
mod twin;
mod wire;

use run::Oracle;
use sequence::{Group, Sequence};

#[track_caller]
fn play(sequences: &[Sequence]) -> Vec<usize> {
    let mut oracle = Oracle::new();
    for sequence in sequences {
        oracle.check(sequence);
    }
    oracle.finish()
}

#[track_caller]
fn corpus(group: Group) {
    let sequences = corpus::group(group);
    assert!(sequences.len() >= 20, "{} sequences", sequences.len());
    play(&sequences);
}

#[test]
fn corpus_tcp() {
    corpus(Group::Tcp);
}

#[test]
fn corpus_udp() {
    corpus(Group::Udp);
}

#[test]
fn corpus_echo() {
    corpus(Group::Echo);
}

#[test]
fn corpus_icmp_errors() {
    corpus(Group::IcmpErrors);
}

#[test]
fn corpus_fragments() {
    corpus(Group::Fragments);
}

#[test]
fn corpus_headers() {
    corpus(Group::Headers);
}

#[test]
fn corpus_malformed() {
    corpus(Group::Malformed);
}

#[test]
fn corpus_filtering() {
    corpus(Group::Filtering);
}

#[test]
fn random() {
    let (seed, sessions) = (random::seed(), random::sessions());
    println!("again with NETPATH_ORACLE_SEED={seed} NETPATH_ORACLE_SESSIONS={sessions}");
    let sequences: Vec<Sequence> = (0..sessions)
        .map(|number| random::session(seed, number))
        .collect();
    play(&sequences);
}
