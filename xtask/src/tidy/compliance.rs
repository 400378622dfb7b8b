//! Checks `nat-compliance.md`: rows and names of tests.

use super::tree::Source;

/// The page.
const PAGE: &str = "netpath/docs/nat-compliance.md";

/// Every requirement, by section.
const ROWS: [&str; 13] = [
    "U-1 U-2 U-3 U-3a U-4 U-5 U-6 U-6a U-7 U-8 U-9 U-10 U-11 U-12 U-13 U-14 U-14a U-15",
    "T-1 T-2 T-2a T-3 T-4 T-5 T-6 T-7 T-8 T-9 T-10 T-11 T-12 T-13 T-14",
    "I-1 I-2 I-3 I-3a I-3b I-3c I-3d I-4 I-5 I-6 I-7 I-8 I-9 I-10a I-10b I-10c I-11 I-12",
    "P-1 P-2 P-3 P-4 P-5 P-6 P-7 P-8 P-9 P-10 P-11 P-12 P-13",
    "C-1 C-2,3 C-4 C-5 C-6 C-7 C-8 C-9 C-10 C-11A C-11B,C C-11D C-12 C-13..15",
    "R-1 R-2 R-3 N-1 N-2 N-3 N-4 N-5 N-6 N-7 N-8",
    "D-1 D-2 D-3",
    "V6-1 V6-2 V6-3 V6-4 V6-5 V6-6 V6-7 V6-8",
    "X-1 X-2 X-3 X-4 X-5 X-6 X-7 X-8 X-9 X-10 X-11 X-12 X-13",
    "E-1 E-2 E-3 E-4 Z-1 Z-2",
    "M-1 M-2 M-3 M-4 M-5",
    "G-1 G-2 G-3 G-4 G-5",
    "H-1 H-2 H-3 H-4 H-5 H-6 H-7 H-8 H-9 H-10 H-11",
];

const MARKS: [&str; 5] = ["comply", "deviates", "option", "not applicable", "later"];

/// Every requirement has one row, with a mark and with tests that exist. A release gate has at least one test.
pub fn page(sources: &[Source]) -> Vec<String> {
    let Some(page) = sources.iter().find(|source| source.path == PAGE) else {
        return Vec::new();
    };
    let rows: Vec<_> = ROWS.iter().flat_map(|ids| ids.split(' ')).collect();
    let mut complaints = Vec::new();
    let mut found = Vec::new();
    for (number, line) in (1..).zip(page.text.lines()) {
        let mut complain = |text: String| complaints.push(format!("{PAGE}:{number}: {text}"));
        match cells(line)[..] {
            [id, _, mark, _, tests] if id != "row" && !id.starts_with('-') => {
                let (id, star) = id.split_once(' ').unwrap_or((id, ""));
                found.push(id);
                if !MARKS.contains(&mark) {
                    complain(format!("`{mark}` is not a valid mark"));
                }
                let must_have = !star.is_empty() && matches!(mark, "comply" | "deviates");
                if must_have && tests.is_empty() {
                    complain(format!("{id} has no test"));
                }
                for name in names(tests).filter(|name| !exists(sources, name)) {
                    complain(format!("there is no test `{name}`"));
                }
            }
            ["ed" | "ei", _, covered] if !covered.starts_with("not applicable: ") => {
                for id in covered.split(", ").filter(|id| !rows.contains(id)) {
                    complain(format!("there is no row `{id}`"));
                }
            }
            _ => {}
        }
    }
    for id in &rows {
        match found.iter().filter(|other| *other == id).count() {
            1 => {}
            count => complaints.push(format!("{PAGE}: {id} has {count} rows")),
        }
    }
    let unknown = found.iter().filter(|id| !rows.contains(id));
    complaints.extend(unknown.map(|id| format!("{PAGE}: {id} is not a known requirement")));
    complaints
}

/// The cells of a table row.
fn cells(line: &str) -> Vec<&str> {
    let inner = line
        .strip_prefix('|')
        .and_then(|rest| rest.trim_end().strip_suffix('|'));
    inner.map_or_else(Vec::new, |inner| inner.split('|').map(str::trim).collect())
}

/// Texts in backticks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Directories of tests by the prefix of their names.
const TARGETS: [(&str, &str); 2] = [
    ("gate_", "tests/compliance/"),
    ("corpus_", "tests/differential/"),
];

/// Directories of tables, whose cases have names with spaces.
const TABLES: [&str; 2] = ["tests/prog/cases/", "tests/fault/refused/"];

/// Whether a test or case of this name exists. A name passes if the directory of its prefix does not exist.
fn exists(sources: &[Source], name: &str) -> bool {
    let target = TARGETS.iter().find(|(prefix, _)| name.starts_with(prefix));
    let within = |place: &str| {
        sources
            .iter()
            .filter(move |source| source.is_rust() && source.path.starts_with(place))
            .collect::<Vec<_>>()
    };
    if let Some((_, place)) = target {
        let files = within(place);
        let forms = [format!("\"{name}\""), format!("{name}:")];
        return files.is_empty()
            || files
                .iter()
                .any(|file| forms.iter().any(|form| file.text.contains(form)));
    }
    let (places, form) = if name.contains(' ') {
        (&TABLES[..], format!("\"{name}\""))
    } else {
        (&[""][..], format!("fn {name}("))
    };
    places
        .iter()
        .flat_map(|place| within(place))
        .any(|file| file.text.contains(&form))
}

#[cfg(test)]
mod tests {
    use super::{super::tree::source, *};

    /// The complaints about a page with these lines, and one test.
    fn complaints(lines: &str) -> Vec<String> {
        let mut sources = source(PAGE, lines);
        sources.extend(source("tests/e2e/a.rs", "fn works() {}"));
        sources.extend(source("tests/prog/cases/a.rs", "(\"it works\")"));
        let absent = |text: &String| !text.ends_with(" has 0 rows");
        page(&sources).into_iter().filter(absent).collect()
    }

    #[test]
    fn existing_test_is_found_and_missing_test_is_a_complaint() {
        let row = |test: &str| complaints(&format!("| U-3 ★ | §1 | comply | it | {test} |"));
        assert!(row("`works`, `it works`").is_empty());
        assert_eq!(row("`work`").len(), 1);
        assert_eq!(row("`it work`").len(), 1);
        assert_eq!(row("").len(), 1);
        assert!(row("`gate_01_n1_checksums`").is_empty());
    }

    #[test]
    fn row_is_known_and_unique() {
        let row = "| U-1 ☆ | §1 | comply | it | `works` |\n";
        assert!(complaints(row).is_empty());
        assert_eq!(complaints(&row.repeat(2)).len(), 1);
        assert_eq!(complaints("| U-99 | §1 | comply | it | |").len(), 1);
        assert_eq!(complaints("| U-1 | §1 | perhaps | it | |").len(), 1);
    }

    #[test]
    fn checklist_names_existing_rows() {
        assert!(complaints("| ed | `test_a` | U-1, T-1 |").is_empty());
        assert!(complaints("| ed | `test_a` | not applicable: none |").is_empty());
        assert_eq!(complaints("| ei | `test_a` | U-1, Q-1 |").len(), 1);
    }
}
