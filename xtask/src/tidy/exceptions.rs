//! Places that do not satisfy a rule, each with the reason. An entry that is no longer needed is a complaint.

use super::tree::Source;

/// A place, and why the rule does not hold there.
type Exception = (&'static str, &'static str);

/// Functions longer than the limit, as `FILE NAME`.
pub const LONG_FUNCTIONS: [Exception; 5] = [
    (
        "netpath/src/cli/process.rs foreground",
        "before the restructuring of the control plane",
    ),
    (
        "netpath/src/daemon/status.rs of",
        "a list of fields, and before the restructuring of the control plane",
    ),
    (
        "netpath/src/model/request/error.rs hint",
        "a flat match from error to hint",
    ),
    (
        "netpath/src/plan/display.rs fmt",
        "a flat match from operation to text",
    ),
    (
        "netpath/src/reconcile/observe.rs observe_part",
        "before the restructuring of the control plane",
    ),
];

/// Imports from a layer that the table of layers does not allow, as `MODULE IMPORTED`.
pub const IMPORTS: [Exception; 2] = [
    (
        "netpath-ebpf/src/packet maps",
        "the flags of a checksum helper are a setting",
    ),
    (
        "netpath/src/datapath api",
        "the tables return wire types until the front end has its own",
    ),
];

/// Imports that close a cycle, as `MODULE IMPORTED`, both with their full paths.
pub const CYCLES: [Exception; 7] = [
    (
        "netpath-ebpf/src/packet/skb maps",
        "the flags of a checksum helper are a setting",
    ),
    (
        "netpath/src/api/server/events api/server/routes",
        "before the restructuring of the control plane",
    ),
    (
        "netpath/src/cli/port cli/sandbox",
        "before the restructuring of the control plane",
    ),
    (
        "netpath/src/datapath/tables datapath/load",
        "before the restructuring of the control plane",
    ),
    (
        "netpath/src/cli/run cli/sandbox",
        "before the restructuring of the control plane",
    ),
    (
        "netpath/src/datapath/load datapath/attach",
        "before the restructuring of the control plane",
    ),
    (
        "netpath/src/datapath/load datapath/probe",
        "before the restructuring of the control plane",
    ),
];

/// Files longer than the limit.
pub const LONG_FILES: [Exception; 0] = [];

/// Whether a place is listed.
pub fn lists(exceptions: &[Exception], place: &str) -> bool {
    exceptions.iter().any(|(listed, _)| *listed == place)
}

/// A complaint for every listed place that is not among those that need it. Only the whole tree has such entries.
pub fn unused(exceptions: &[Exception], needed: &[String], sources: &[Source]) -> Vec<String> {
    let whole = sources
        .iter()
        .any(|source| source.path == "xtask/src/tidy/exceptions.rs");
    exceptions
        .iter()
        .filter(|(place, _)| whole && !needed.iter().any(|needed| needed == place))
        .map(|(place, _)| format!("xtask/src/tidy/exceptions.rs: `{place}` is not needed any more"))
        .collect()
}
