//! The modules of a crate, and which of them refer to which.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{self, Source};

/// A module's path from the crate root; empty for the root.
type Path = Vec<String>;

/// A reference from one module to another of the same crate.
pub struct Reference {
    /// The module that refers.
    pub from: Path,
    /// The module that is referred to.
    pub to: Path,
    /// File and line, as `FILE:LINE`.
    pub place: String,
}

/// The references between modules of the crate in this directory, one for each pair of modules. Unit tests do not count.
pub fn references(sources: &[Source], directory: &str) -> Vec<Reference> {
    let files: Vec<(Path, &Source)> = sources
        .iter()
        .filter_map(|source| Some((module(&source.path, directory)?, source)))
        .collect();
    let known: BTreeSet<&Path> = files.iter().map(|(path, _)| path).collect();
    let mut found: Vec<Reference> = Vec::new();
    for (from, source) in &files {
        for (line, text) in paths(source) {
            let Some(target) = absolute(from, &text) else {
                continue;
            };
            let longest = (0..=target.len())
                .rev()
                .filter_map(|length| target.get(..length).map(<[String]>::to_vec))
                .find(|path| known.contains(path));
            let Some(to) = longest.filter(|to| to != from) else {
                continue;
            };
            let known = |other: &Reference| other.from == *from && other.to == to;
            if !found.iter().any(known) {
                found.push(Reference {
                    from: from.clone(),
                    to,
                    place: format!("{}:{line}", source.path),
                });
            }
        }
    }
    found
}

/// Names of the modules of the crate's root in this directory.
pub fn roots(sources: &[Source], directory: &str) -> BTreeSet<String> {
    let paths = sources
        .iter()
        .filter_map(|source| module(&source.path, directory));
    paths.filter_map(|path| path.into_iter().next()).collect()
}

/// Cycles between modules of one folder, each as the names of its modules and the places of the imports.
pub fn cycles(references: &[Reference]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut folders: BTreeMap<&[String], BTreeMap<(&str, &str), &str>> = BTreeMap::new();
    for reference in references {
        let (from, to) = (&reference.from, &reference.to);
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b), Some(folder)) =
            (from.get(common), to.get(common), from.get(..common))
        {
            let edges = folders.entry(folder).or_default();
            edges.entry((a, b)).or_insert(&reference.place);
        }
    }
    folders
        .into_iter()
        .filter_map(|(folder, edges)| cycle(folder, &edges))
        .collect()
}

/// One cycle of a graph, if it has any.
fn cycle(
    folder: &[String],
    edges: &BTreeMap<(&str, &str), &str>,
) -> Option<(Vec<String>, Vec<String>)> {
    // Modules that import only modules without cycles, or that are imported only by such, are removed until none is left.
    let mut left: BTreeSet<(&str, &str)> = edges.keys().copied().collect();
    loop {
        let sources: BTreeSet<&str> = left.iter().map(|(from, _)| *from).collect();
        let targets: BTreeSet<&str> = left.iter().map(|(_, to)| *to).collect();
        let count = left.len();
        left.retain(|(from, to)| targets.contains(from) && sources.contains(to));
        if left.len() == count {
            break;
        }
    }
    let mut at = left.first()?.0;
    let mut visited = Vec::new();
    while !visited.contains(&at) {
        visited.push(at);
        at = left.iter().find(|(from, _)| *from == at)?.1;
    }
    let first = visited.iter().position(|module| *module == at)?;
    let ring: Vec<&str> = visited.split_off(first);
    let steps = ring.iter().zip(ring.iter().cycle().skip(1));
    let places = steps.filter_map(|(a, b)| edges.get(&(*a, *b)));
    let name = |module: &&str| {
        folder
            .iter()
            .map(String::as_str)
            .chain([*module])
            .collect::<Vec<_>>()
            .join("::")
    };
    Some((
        ring.iter().map(name).collect(),
        places.map(|place| (*place).to_owned()).collect(),
    ))
}

/// The module that a file holds; `None` for a file of another directory or of tests.
fn module(path: &str, directory: &str) -> Option<Path> {
    let relative = path.strip_prefix(directory)?.strip_suffix(".rs")?;
    let mut segments: Path = relative.split('/').map(str::to_owned).collect();
    if segments.iter().any(|segment| segment == "tests") {
        return None;
    }
    let last = segments.last().map(String::as_str);
    let is_root = segments.len() == 1 && matches!(last, Some("lib" | "main"));
    if is_root || last == Some("mod") {
        segments.pop();
    }
    Some(segments)
}

/// The paths of a program that begin with `crate::` or `super::`, with their lines.
fn paths(source: &Source) -> Vec<(usize, String)> {
    let mut found = tree::imports(source.program());
    for (number, line) in source.program() {
        let part_of_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        for word in line.split(|c: char| !part_of_path(c) && c != '$') {
            found.push((number, word.trim_end_matches(':').to_owned()));
        }
    }
    found.retain(|(_, path)| path.starts_with("crate::") || path.starts_with("super::"));
    found
}

/// A path from the crate root, given where it is used.
fn absolute(from: &[String], path: &str) -> Option<Path> {
    let mut base = from.to_vec();
    let mut segments = path.split("::").peekable();
    if segments.next_if_eq(&"crate").is_some() {
        base.clear();
    }
    while segments.next_if_eq(&"super").is_some() {
        base.pop()?;
    }
    base.extend(
        segments
            .filter(|segment| *segment != "self")
            .map(str::to_owned),
    );
    Some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(files: &[(&str, &str)]) -> Vec<Source> {
        let source = |(path, text): &(&str, &str)| Source {
            path: format!("a/src/{path}"),
            text: (*text).to_owned(),
        };
        files.iter().map(source).collect()
    }

    #[test]
    fn references_are_resolved_to_modules() {
        let sources = crate_of(&[
            ("lib.rs", "mod x;\nmod y;"),
            ("x/mod.rs", "use crate::y::Thing;\nfn f() { super::y::g() }"),
            (
                "x/z.rs",
                "use super::super::y;\n// crate::x\n#[cfg(test)]\nuse crate::x;",
            ),
            ("y.rs", "macro_rules! m { () => { $crate::x::f() } }"),
        ]);
        let found = references(&sources, "a/src/");
        let shown: Vec<_> = found
            .iter()
            .map(|found| {
                format!(
                    "{} {} {}",
                    found.from.join("/"),
                    found.to.join("/"),
                    found.place
                )
            })
            .collect();
        let expected = ["x y a/src/x/mod.rs:1", "x/z y a/src/x/z.rs:1"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn cycle_between_siblings_is_found_and_parent_is_not() {
        let files = [
            ("x.rs", "use crate::y::a;"),
            ("y/mod.rs", "use z::a;"),
            ("y/z.rs", "use super::b; use crate::w;"),
            ("w.rs", ""),
        ];
        let sources = crate_of(&files);
        assert!(cycles(&references(&sources, "a/src/")).is_empty());
        let mut files = files;
        files[3].1 = "use crate::x;";
        let sources = crate_of(&files);
        let found = cycles(&references(&sources, "a/src/"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, ["w", "x", "y"]);
        assert_eq!(found[0].1.len(), 3);
    }
}
