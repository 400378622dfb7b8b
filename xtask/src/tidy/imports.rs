//! Which module may import which, as the architecture page draws it.

use std::collections::BTreeSet;

use super::{
    exceptions::{self, CYCLES, IMPORTS},
    modules,
    tree::Source,
};

/// A module of a crate's root, and the modules that it may import. These must have a row further up: a module imports
/// only from the layers below it, which excludes upward imports and cycles.
type Row = (&'static str, &'static [&'static str]);

/// The layers of a crate, the lowest first.
struct Layers {
    directory: &'static str,
    rows: &'static [Row],
}

const LAYERS: [Layers; 3] = [
    Layers {
        directory: "netpath-common/src/",
        rows: &[
            ("layout", &[]),
            ("checksum", &[]),
            ("hook", &[]),
            ("portmap", &[]),
            ("reason", &[]),
            ("probe", &[]),
            ("addr", &["layout"]),
            ("flow", &["layout", "addr"]),
            (
                "maps",
                &["layout", "hook", "portmap", "reason", "addr", "flow"],
            ),
        ],
    },
    Layers {
        directory: "netpath-ebpf/src/",
        rows: &[
            ("packet", &[]),
            ("parse", &["packet"]),
            ("sample", &["packet", "parse"]),
            ("rewrite", &["packet", "parse"]),
            ("stage", &[]),
            ("hash", &[]),
            ("helpers", &["packet", "parse"]),
            ("maps", &["packet", "parse", "helpers"]),
            ("context", &["helpers", "packet", "parse", "maps"]),
            (
                "conntrack",
                &["helpers", "packet", "parse", "maps", "context", "stage"],
            ),
            (
                "fragment",
                &[
                    "helpers",
                    "packet",
                    "parse",
                    "maps",
                    "rewrite",
                    "context",
                    "stage",
                    "conntrack",
                ],
            ),
            (
                "route",
                &[
                    "hash",
                    "helpers",
                    "packet",
                    "maps",
                    "context",
                    "stage",
                    "conntrack",
                ],
            ),
            (
                "nat",
                &[
                    "hash",
                    "helpers",
                    "packet",
                    "parse",
                    "maps",
                    "context",
                    "stage",
                    "conntrack",
                ],
            ),
            (
                "path",
                &[
                    "hash",
                    "helpers",
                    "packet",
                    "parse",
                    "maps",
                    "rewrite",
                    "context",
                    "stage",
                    "conntrack",
                    "fragment",
                    "nat",
                    "route",
                ],
            ),
            ("socket", &["helpers", "packet", "maps", "context", "nat"]),
            (
                "sweep",
                &["helpers", "packet", "maps", "context", "conntrack"],
            ),
            ("probe", &["helpers", "packet"]),
            (
                "xdp",
                &["helpers", "packet", "parse", "maps", "conntrack", "nat"],
            ),
            (
                "programs",
                &[
                    "helpers", "packet", "maps", "context", "path", "socket", "sweep", "probe",
                    "xdp",
                ],
            ),
        ],
    },
    Layers {
        directory: "netpath/src/",
        rows: &[
            ("ipam", &[]),
            ("model", &["ipam"]),
            ("plan", &["model"]),
            ("store", &["model"]),
            ("kernel", &["model", "plan"]),
            ("datapath", &["model", "plan", "kernel"]),
            ("config", &["ipam", "model", "store", "datapath"]),
            ("reconcile", &["model", "plan", "kernel", "datapath"]),
            (
                "commands",
                &[
                    "ipam",
                    "model",
                    "plan",
                    "store",
                    "kernel",
                    "datapath",
                    "config",
                    "reconcile",
                ],
            ),
            ("frontend", &["model", "datapath", "commands"]),
            (
                "daemon",
                &[
                    "ipam",
                    "model",
                    "plan",
                    "store",
                    "kernel",
                    "datapath",
                    "config",
                    "reconcile",
                    "commands",
                    "frontend",
                ],
            ),
            (
                "cli",
                &[
                    "model", "kernel", "datapath", "config", "frontend", "daemon",
                ],
            ),
        ],
    },
];

/// Directories of crates whose modules must not import each other in a cycle.
const CRATES: [&str; 4] = [
    "netpath-common/src/",
    "netpath-ebpf/src/",
    "netpath/src/",
    "xtask/src/",
];

/// Every module imports only what its row in [`LAYERS`] allows.
pub fn layers(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for Layers { directory, rows } in LAYERS {
        complaints.extend(unordered(directory, rows));
        if exceptions::is_whole(sources) {
            let modules = modules::roots(sources, directory);
            complaints.extend(incomplete(directory, rows, &modules));
        }
        for reference in modules::references(sources, directory) {
            let (Some(from), Some(to)) = (reference.from.first(), reference.to.first()) else {
                continue;
            };
            let row = rows.iter().find(|(module, _)| module == from);
            let allowed = row.is_some_and(|(_, allowed)| allowed.contains(&to.as_str()));
            if from == to || allowed {
                continue;
            }
            let id = format!("{directory}{from} {to}");
            if !exceptions::lists(&IMPORTS, &id) {
                complaints.push(format!(
                    "{}: `{from}` imports `{to}`: not allowed by `LAYERS` in xtask/src/tidy/imports.rs",
                    reference.place
                ));
            }
            used.push(id);
        }
    }
    complaints.extend(exceptions::unused(&IMPORTS, &used, sources));
    complaints
}

/// Rows that allow an import from their own or a higher layer.
fn unordered(directory: &str, rows: &[Row]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, (module, allowed)) in rows.iter().enumerate() {
        let lower = rows.get(..index).unwrap_or_default();
        let is_lower = |name: &&&str| !lower.iter().any(|(below, _)| below == *name);
        for name in allowed.iter().filter(is_lower) {
            complaints.push(format!(
                "{directory}: `LAYERS` allows `{module}` to import `{name}`, which is no lower layer"
            ));
        }
    }
    complaints
}

/// Rows of modules that do not exist, and modules without a row. `modules` are those of the crate's root.
fn incomplete(directory: &str, rows: &[Row], modules: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (module, _) in rows {
        if !modules.contains(*module) {
            complaints.push(format!(
                "{directory}: `LAYERS` has a row for `{module}`, which is no module"
            ));
        }
    }
    for module in modules {
        if !rows.iter().any(|(row, _)| row == module) {
            complaints.push(format!("{directory}: `LAYERS` has no row for `{module}`"));
        }
    }
    complaints
}

/// No modules of one folder import each other in a cycle.
pub fn cycles(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for directory in CRATES {
        let references = modules::references(sources, directory);
        let remaining = references.into_iter().filter(|reference| {
            let id = format!(
                "{directory}{} {}",
                reference.from.join("/"),
                reference.to.join("/")
            );
            let listed = exceptions::lists(&CYCLES, &id);
            if listed {
                used.push(id);
            }
            !listed
        });
        let remaining: Vec<_> = remaining.collect();
        for (ring, places) in modules::cycles(&remaining) {
            complaints.push(format!(
                "{directory}: import cycle {}: {}",
                ring.join(" → "),
                places.join(", ")
            ));
        }
    }
    complaints.extend(exceptions::unused(&CYCLES, &used, sources));
    complaints
}

#[cfg(test)]
mod tests {
    use super::{super::tree::source, *};

    #[test]
    fn import_from_higher_layer_is_found_and_from_lower_layer_is_not() {
        let found = |text: &str| {
            layers(&{
                let mut sources = source("netpath/src/plan/mod.rs", text);
                for module in ["model", "kernel"] {
                    sources.extend(source(&format!("netpath/src/{module}/mod.rs"), ""));
                }
                sources
            })
        };
        assert!(found("use crate::model::Name;").is_empty());
        assert_eq!(
            found("use crate::kernel::Links;"),
            [
                "netpath/src/plan/mod.rs:1: `plan` imports `kernel`: not allowed by `LAYERS` in xtask/src/tidy/imports.rs"
            ]
        );
    }

    #[test]
    fn row_with_higher_layer_is_found() {
        assert_eq!(unordered("a/", &[("x", &["y"]), ("y", &["x"])]).len(), 1);
    }

    #[test]
    fn row_without_module_and_module_without_row_are_found() {
        let modules = ["x", "z"].map(str::to_owned).into();
        assert_eq!(
            incomplete("a/", &[("x", &[]), ("y", &[])], &modules),
            [
                "a/: `LAYERS` has a row for `y`, which is no module",
                "a/: `LAYERS` has no row for `z`"
            ]
        );
    }

    #[test]
    fn import_cycle_is_found() {
        let mut sources = source("netpath/src/kernel/a.rs", "use super::b::B;");
        sources.extend(source(
            "netpath/src/kernel/b.rs",
            "use crate::kernel::a::A;",
        ));
        let found = cycles(&sources);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("netpath/src/: import cycle kernel::a → kernel::b: "));
    }
}
