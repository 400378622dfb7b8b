//! Rules for the text of files.

use super::{
    exceptions::{self, LONG_FILES},
    tree::Source,
};

/// The most lines a Rust file may have.
const LONGEST: usize = 450;

/// No Rust file is longer than [`LONGEST`] lines.
pub fn length(sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is_rust());
    let long = rust.filter(|source| !exceptions::lists(&LONG_FILES, &source.path));
    long.filter_map(|source| {
        let lines = source.text.lines().count();
        let text = format!(
            "{}: {lines} lines, at most {LONGEST}: make it a folder of the same name",
            source.path
        );
        (lines > LONGEST).then_some(text)
    })
    .collect()
}

/// No file contains a marker of unfinished work.
pub fn unfinished(sources: &[Source]) -> Vec<String> {
    // In parts, so that the rule does not match this file.
    let markers = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X:"],
        ["HA", "CK:"],
        ["todo", "!("],
        ["unimpl", "emented!("],
    ];
    let markers = markers.map(|parts| parts.concat());
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| !source.path.ends_with(".lock"))
    {
        for (number, line) in (1..).zip(source.text.lines()) {
            if let Some(marker) = markers.iter().find(|marker| line.contains(marker.as_str())) {
                complaints.push(format!("{}:{number}: unfinished (`{marker}`)", source.path));
            }
        }
    }
    complaints
}

/// No line ends in white space, no Rust file contains a tab, and every file ends with one newline.
pub fn white_space(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| !source.path.contains("/cases/"))
    {
        for (number, line) in (1..).zip(source.text.split('\n')) {
            if line.trim_end() != line {
                complaints.push(format!(
                    "{}:{number}: white space at the end of the line",
                    source.path
                ));
            }
            if source.is_rust() && line.contains('\t') {
                complaints.push(format!("{}:{number}: a tab", source.path));
            }
        }
        if !source.text.is_empty()
            && (!source.text.ends_with('\n') || source.text.ends_with("\n\n"))
        {
            complaints.push(format!(
                "{}: does not end with exactly one line end",
                source.path
            ));
        }
    }
    complaints
}

/// No file contains a path in a home or working directory of a developer.
pub fn machine_paths(sources: &[Source]) -> Vec<String> {
    let paths = ["work", "root"].map(|directory| format!("/{directory}/"));
    let mut complaints = Vec::new();
    for source in sources {
        for (number, line) in (1..).zip(source.text.lines()) {
            let starts = |at: usize| {
                let before = line.get(..at).and_then(|text| text.chars().next_back());
                before.is_none_or(|c| c.is_whitespace() || "\"'`=(:".contains(c))
            };
            if paths
                .iter()
                .any(|path| line.match_indices(path.as_str()).any(|(at, _)| starts(at)))
            {
                complaints.push(format!("{}:{number}: a path of one machine", source.path));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::{super::tree::source, *};

    #[test]
    fn long_file_is_found() {
        assert!(length(&source("a.rs", &"\n".repeat(LONGEST))).is_empty());
        assert_eq!(length(&source("a.rs", &"\n".repeat(LONGEST + 1))).len(), 1);
        assert!(length(&source("a.md", &"\n".repeat(LONGEST + 1))).is_empty());
    }

    #[test]
    fn white_space_at_line_ends_is_found() {
        assert!(white_space(&source("a.md", "a\n\tb\n")).is_empty());
        assert_eq!(white_space(&source("a.md", "a \n")).len(), 1);
        assert_eq!(white_space(&source("a.md", "a")).len(), 1);
        assert_eq!(white_space(&source("a.rs", "\ta\n")).len(), 1);
    }

    #[test]
    fn home_directory_is_found_and_url_is_not() {
        let path = ["/ro", "ot/x"].concat();
        assert_eq!(
            machine_paths(&source("a.md", &format!("see {path}"))).len(),
            1
        );
        assert!(machine_paths(&source("a.md", &format!("https://example.org{path}"))).is_empty());
    }
}
