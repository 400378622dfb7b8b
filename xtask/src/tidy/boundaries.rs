//! Which modules may use which libraries, and where `unsafe` is allowed.

use super::tree::{self, Source};

/// A name that only some places in `within` may use, and the reason.
struct Boundary {
    name: &'static str,
    within: &'static str,
    only: &'static [&'static str],
    why: &'static str,
}

const BOUNDARIES: [Boundary; 7] = [
    Boundary {
        name: "rtnetlink",
        within: "netpath/src/",
        only: &["netpath/src/kernel/"],
        why: "only this module uses netlink",
    },
    Boundary {
        name: "netlink_",
        within: "netpath/src/",
        only: &["netpath/src/kernel/"],
        why: "only this module uses netlink",
    },
    Boundary {
        name: "aya::",
        within: "netpath/src/",
        only: &["netpath/src/datapath/"],
        why: "only this module uses programs and maps",
    },
    Boundary {
        name: "redb",
        within: "netpath/src/",
        only: &["netpath/src/store/"],
        why: "only this module accesses the database",
    },
    Boundary {
        name: "axum",
        within: "netpath/src/",
        only: &["netpath/src/frontend/http/"],
        why: "only this module serves HTTP",
    },
    Boundary {
        name: "anyhow",
        within: "netpath/src/",
        only: &["netpath/src/cli/", "netpath/src/main.rs"],
        why: "errors of a library are typed",
    },
    Boundary {
        name: "crate::store",
        within: "netpath/src/cli/",
        only: &[],
        why: "commands use the HTTP API",
    },
];

/// Checks every [`Boundary`].
pub fn modules(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let within =
            |boundary: &&Boundary| source.is_in(&[boundary.within]) && !source.is_in(boundary.only);
        for Boundary {
            name, only, why, ..
        } in BOUNDARIES.iter().filter(within)
        {
            if let Some(line) = first_use(source, name) {
                let only = if only.is_empty() {
                    String::new()
                } else {
                    format!(", only {} may", only.join(" and "))
                };
                complaints.push(format!(
                    "{}:{line}: uses `{name}`{only}: {why}",
                    source.path
                ));
            }
        }
    }
    complaints
}

/// Pure modules.
const PURE: [&str; 3] = [
    "netpath/src/model/",
    "netpath/src/ipam/",
    "netpath/src/plan/",
];
/// Names that make a module depend on IO, time, randomness or an executor.
const IMPURE: [&str; 9] = [
    "tokio",
    "async",
    "std::time",
    "std::fs",
    "std::process",
    "std::env",
    "std::net::TcpStream",
    "rand",
    "nix",
];

/// The pure modules have no IO, no clock, no randomness and no async.
pub fn pure(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.is_rust() && source.is_in(&PURE))
    {
        for name in IMPURE {
            if let Some(line) = first_use(source, name) {
                complaints.push(format!(
                    "{}:{line}: uses `{name}`, but this module must be pure",
                    source.path
                ));
            }
        }
    }
    complaints
}

/// Places that may contain `unsafe`: views of bytes as structures, the programs' access to packets and maps, and system
/// calls without a wrapper in a crate.
const UNSAFE: [&str; 8] = [
    "netpath-common/src/layout.rs",
    "netpath-ebpf/src/",
    "netpath/src/datapath/",
    "netpath/src/kernel/",
    "netpath/src/cli/process.rs",
    "netpath/src/cli/process/",
    "tests/bench/load/",
    "tests/harness/",
];

/// `unsafe` is used only in the listed places.
pub fn unsafe_code(sources: &[Source]) -> Vec<String> {
    // In two parts, so that the rule does not match this file.
    let word = ["un", "safe"].concat();
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.is_rust() && !source.is_in(&UNSAFE))
    {
        let used = source.code().find(|(_, line)| tree::mentions(line, &word));
        if let Some((line, _)) = used.filter(|_| !source.path.starts_with("xtask/src/tidy/")) {
            complaints.push(format!(
                "{}:{line}: {word} code, only {} may have it",
                source.path,
                UNSAFE.join(" and ")
            ));
        }
    }
    complaints
}

/// The first line of a program that uses the name, in a path or in a `use` declaration with braces.
fn first_use(source: &Source, name: &str) -> Option<usize> {
    let direct = source
        .program()
        .find(|(_, line)| tree::mentions(line, name))
        .map(|(line, _)| line);
    let imports = tree::imports(source.program());
    let imported = imports
        .iter()
        .find(|(_, path)| tree::mentions(path, name))
        .map(|(line, _)| *line);
    direct.or(imported)
}

#[cfg(test)]
mod tests {
    use super::{super::tree::source, *};

    #[test]
    fn forbidden_import_is_found_and_comment_is_not() {
        assert_eq!(
            modules(&source("netpath/src/plan/mod.rs", "use rtnetlink::Handle;")).len(),
            1
        );
        assert_eq!(
            modules(&source(
                "netpath/src/plan/mod.rs",
                "/// Not rtnetlink.\nfn a() {}"
            ))
            .len(),
            0
        );
        assert_eq!(
            modules(&source(
                "netpath/src/kernel/link.rs",
                "use rtnetlink::Handle;"
            ))
            .len(),
            0
        );
    }

    #[test]
    fn clock_in_a_pure_module_is_found_in_a_nested_import() {
        let found = pure(&source(
            "netpath/src/model/id.rs",
            "use std::{\n    fmt,\n    time::Duration,\n};",
        ));
        assert_eq!(
            found,
            ["netpath/src/model/id.rs:1: uses `std::time`, but this module must be pure"]
        );
        assert!(pure(&source("netpath/src/daemon.rs", "use std::time::Instant;")).is_empty());
    }
}
