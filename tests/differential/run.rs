//! Runs sequences on both nodes and counts differences.

use std::{collections::BTreeSet, fmt::Write as _};

use netpath_tests::{
    Netns, artifacts,
    packet::write_pcap,
    table::{Requests, Table},
};

use crate::{
    compare::{StepResult, compare, execute},
    corpus,
    differences::expected,
    pair::NodePair,
    sequence::{Group, Sequence},
};

/// Number of unexpected differences that are shown.
const SHOWN: usize = 40;
/// Number of those per sequence.
const SHOWN_OF_EACH: usize = 2;

/// A group of the corpus as a table. Its server runs the sequences on one pair of nodes.
pub fn table(name: &'static str, group: Group) -> Table {
    let serve = move |requests: &mut Requests| {
        let sequences = corpus::group(group);
        let mut oracle = Oracle::new();
        requests.serve(|name| {
            let sequence = sequences.iter().find(|sequence| sequence.name == name);
            if oracle.check(sequence.ok_or("no such sequence")?) {
                return Ok(());
            }
            Err(oracle.texts.drain(..).collect())
        });
        oracle.failures();
    };
    let names = |sequence: Sequence| sequence.name;
    let names = move || corpus::group(group).into_iter().map(names).collect();
    Table::new(name, names, serve)
}

/// Both nodes and the results so far.
pub struct Oracle {
    nodes: NodePair,
    serial: u16,
    /// Sequences run.
    pub sequences: usize,
    /// Packets that arrived on either node.
    pub packets: usize,
    /// Occurrences of each of [`expected`].
    pub used: Vec<usize>,
    failed: Vec<String>,
    texts: Vec<String>,
}

impl Oracle {
    /// Creates the nodes.
    pub fn new() -> Self {
        Self {
            nodes: NodePair::new(),
            serial: 0,
            sequences: 0,
            packets: 0,
            used: vec![0; expected().count()],
            failed: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// The node on which netfilter translates.
    pub fn netfilter_host(&self) -> &Netns {
        self.nodes.netfilter_host()
    }

    /// Runs a sequence on both nodes and compares the results; false if there is an unexpected difference.
    pub fn check(&mut self, sequence: &Sequence) -> bool {
        self.serial += 1;
        let map = self.nodes.map.clone();
        let netfilter = execute(&mut self.nodes.netfilter, &map, sequence, self.serial);
        let netpath = execute(&mut self.nodes.netpath, &map, sequence, self.serial);
        self.sequences += 1;
        let arrived = |results: &[StepResult]| -> usize {
            results.iter().map(|result| result.arrived.len()).sum()
        };
        self.packets += arrived(&netfilter) + arrived(&netpath);

        let mut apart = BTreeSet::new();
        let mut texts = Vec::new();
        compare(&map, sequence, &netfilter, &netpath, |difference| {
            let flow = difference.step().flow.map(|(flow, _)| flow.id);
            if flow.is_some_and(|flow| apart.contains(&flow)) {
                return;
            }
            match expected()
                .enumerate()
                .find(|(_, intended)| (intended.is)(&difference))
            {
                Some((index, intended)) => {
                    self.used[index] += 1;
                    if intended.diverges {
                        apart.extend(flow);
                    }
                }
                None => texts.push(difference.to_string()),
            }
        });
        if texts.is_empty() {
            return true;
        }
        self.keep(sequence, "netfilter", &netfilter);
        self.keep(sequence, "netpath", &netpath);
        self.failed.push(sequence.name.clone());
        // Later differences are mostly consequences of the first.
        self.texts.extend(texts.into_iter().take(SHOWN_OF_EACH));
        false
    }

    /// Checks the nodes; returns the names of the sequences with unexpected differences.
    pub fn failures(self) -> Vec<String> {
        self.nodes.finish();
        self.failed
    }

    /// Checks the nodes, prints the totals, and fails with every unexpected difference.
    #[track_caller]
    pub fn finish(self) -> Vec<usize> {
        self.nodes.finish();
        println!(
            "{} sequences, {} packets compared",
            self.sequences, self.packets
        );
        for (intended, count) in expected().zip(&self.used) {
            if *count > 0 {
                println!("{count:6} × {} ({})", intended.name, intended.row);
            }
        }
        assert!(
            self.sequences > 0 && self.packets > 0,
            "nothing was compared"
        );
        let mut text = String::new();
        for shown in self.texts.iter().take(SHOWN) {
            text.push_str(shown);
        }
        if self.texts.len() > SHOWN {
            let _ = writeln!(text, "  … and {} more", self.texts.len() - SHOWN);
        }
        assert!(
            self.failed.is_empty(),
            "{} of {} sequences differ; their packets are in {}\n{text}in:\n  {}",
            self.failed.len(),
            self.sequences,
            artifacts().display(),
            self.failed.join("\n  ")
        );
        self.used
    }

    /// Writes sent and received packets, in order, to a capture file.
    fn keep(&self, sequence: &Sequence, node: &str, results: &[StepResult]) {
        let name = sequence.name.replace(['/', ' '], "-");
        let path = artifacts().join(format!("{name}.{node}.pcap"));
        let frames = results.iter().flat_map(|result| {
            let arrived = result
                .arrived
                .iter()
                .map(|(_, packet)| packet.frame.as_slice());
            result.sent.iter().map(Vec::as_slice).chain(arrived)
        });
        if let Err(error) = write_pcap(&path, &frames.collect::<Vec<_>>()) {
            eprintln!("{}: {error}", path.display());
        }
    }
}
