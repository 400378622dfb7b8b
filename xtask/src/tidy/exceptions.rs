//! Places that do not satisfy a rule, each with the reason. An entry that is no longer needed is a complaint.

use super::tree::Source;

/// A place, and why the rule does not hold there.
type Exception = (&'static str, &'static str);

/// Functions longer than the limit, as `FILE NAME`.
pub const LONG_FUNCTIONS: [Exception; 2] = [
    (
        "netpath/src/cli/process.rs foreground",
        "signals, terminal and exit status are one sequence",
    ),
    (
        "netpath/src/model/request/error/hint.rs hint",
        "a flat match from error to hint",
    ),
];

/// Imports from a layer that the table of layers does not allow, as `MODULE IMPORTED`.
pub const IMPORTS: [Exception; 1] = [(
    "netpath-ebpf/src/packet maps",
    "the flags of a checksum helper and the secret are settings",
)];

/// Imports that close a cycle, as `MODULE IMPORTED`, both with their full paths.
pub const CYCLES: [Exception; 5] = [
    (
        "netpath-ebpf/src/packet/skb maps",
        "the flags of a checksum helper and the secret are settings",
    ),
    (
        "netpath/src/cli/port cli/sandbox",
        "ports are published by both commands, which share their arguments",
    ),
    (
        "netpath/src/cli/run cli/sandbox",
        "both create a sandbox, and share its arguments",
    ),
    (
        "netpath/src/datapath/load datapath/attach",
        "the loader chooses how programs are attached",
    ),
    (
        "netpath/src/datapath/load datapath/probe",
        "the loader asks for the features that the configuration of the programs holds",
    ),
];

/// Files longer than the limit.
pub const LONG_FILES: [Exception; 0] = [];

/// Whether a place is listed.
pub fn lists(exceptions: &[Exception], place: &str) -> bool {
    exceptions.iter().any(|(listed, _)| *listed == place)
}

/// Whether these are all files of the checkout, and not those of a test.
pub fn is_whole(sources: &[Source]) -> bool {
    let mut paths = sources.iter().map(|source| source.path.as_str());
    paths.any(|path| path == "xtask/src/tidy/exceptions.rs")
}

/// A complaint for every listed place that is not among those that need it. Only the whole tree has such entries.
pub fn unused(exceptions: &[Exception], needed: &[String], sources: &[Source]) -> Vec<String> {
    let whole = is_whole(sources);
    exceptions
        .iter()
        .filter(|(place, _)| whole && !needed.iter().any(|needed| needed == place))
        .map(|(place, _)| format!("xtask/src/tidy/exceptions.rs: `{place}` is no longer needed"))
        .collect()
}
