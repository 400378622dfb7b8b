//! The files of the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Ends of the paths of directories without sources.
const SKIPPED: [&str; 3] = [".git", "target", "fuzz/corpus"];

/// A text file of the checkout.
pub struct Source {
    /// Path from the root, with `/`.
    pub path: String,
    /// Content.
    pub text: String,
}

/// A tree of one file, for tests.
#[cfg(test)]
pub fn source(path: &str, text: &str) -> Vec<Source> {
    vec![Source {
        path: path.into(),
        text: text.into(),
    }]
}

impl Source {
    /// Whether the file is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file is one of these, or in one of these directories.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            if place.ends_with('/') {
                self.path.starts_with(place)
            } else {
                self.path == *place
            }
        })
    }

    /// Numbered lines without comments.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self
            .text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        (1..).zip(lines)
    }

    /// The lines of [`Self::code`] before the unit tests at the end of the file; none for a file of tests.
    pub fn program(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        self.code()
            .take_while(move |(_, line)| !tests && line.trim() != "#[cfg(test)]")
    }
}

/// All text files below the root, sorted.
pub fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for file in files(root)? {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let Ok(text) = String::from_utf8(content) else {
            continue;
        };
        let path = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        sources.push(Source { path, text });
    }
    Ok(sources)
}

/// All files below a directory, sorted.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let skipped = SKIPPED
            .iter()
            .any(|skipped| entry.path().ends_with(skipped));
        if kind.is_dir() && !skipped {
            files.extend(self::files(&entry.path())?);
        } else if kind.is_file() && !skipped {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Whether the code contains the path or name `wanted` as a whole.
pub fn mentions(code: &str, wanted: &str) -> bool {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices(wanted).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code
            .get(at + wanted.len()..)
            .and_then(|text| text.chars().next());
        // A pattern such as `aya::` or `netlink_` matches any continuation.
        let open = wanted.ends_with(':') || wanted.ends_with('_');
        !before.is_some_and(part_of_name) && (open || !after.is_some_and(part_of_name))
    })
}

/// The full paths of `use` declarations: `use std::{fs, io::{self}}` contains `std::fs` and `std::io`.
pub fn imports<'a>(code: impl Iterator<Item = (usize, &'a str)>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut declaration: Option<(usize, String)> = None;
    for (number, line) in code {
        let start = line
            .trim()
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ");
        if declaration.is_none() && start.starts_with("use ") {
            declaration = Some((number, String::new()));
        }
        if let Some((first, text)) = &mut declaration {
            text.push_str(start.trim_start_matches("use "));
            if line.trim_end().ends_with(';') {
                let tree = text.trim_end_matches(';').replace(char::is_whitespace, "");
                found.extend(expand("", &tree).into_iter().map(|path| (*first, path)));
                declaration = None;
            }
        }
    }
    found
}

/// `a::{b, c::{d, e}}` becomes `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![format!("{prefix}{tree}")];
    };
    let prefix = format!("{prefix}{head}");
    let body = rest.strip_suffix('}').unwrap_or(rest);
    let (mut paths, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, c) in body.char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                let item = body.get(start..at).unwrap_or_default();
                if !item.is_empty() {
                    paths.extend(expand(&prefix, item));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_matched_as_a_whole() {
        assert!(mentions("let x = rand::random();", "rand"));
        assert!(!mentions("operand", "rand"));
        assert!(!mentions("randomly", "rand"));
        assert!(mentions("netlink_packet_route::X", "netlink_"));
        assert!(mentions("use aya::maps", "aya::"));
        assert!(!mentions("maya::x", "aya::"));
    }

    #[test]
    fn directory_is_skipped_by_its_path() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = files(&root).unwrap();
        let has = |directory: &str| {
            let directory = root.join(directory);
            files.iter().any(|file| file.starts_with(&directory))
        };
        assert!(has("tests/differential/corpus"));
        assert!(!has("netpath-ebpf/fuzz/corpus"));
    }

    #[test]
    fn use_trees_are_expanded() {
        let code = "pub use std::{\n    collections::BTreeMap,\n    fs, time::{self, Duration},\n};\nfn main() {}\nuse a::b;";
        let lines: Vec<_> = (1..).zip(code.lines()).collect();
        let paths: Vec<_> = imports(lines.into_iter())
            .into_iter()
            .map(|(_, path)| path)
            .collect();
        assert_eq!(
            paths,
            [
                "std::collections::BTreeMap",
                "std::fs",
                "std::time::self",
                "std::time::Duration",
                "a::b"
            ]
        );
    }

    #[test]
    fn program_ends_before_the_unit_tests() {
        let source = Source {
            path: "a/b.rs".into(),
            text: "fn a() {} // x\n#[cfg(test)]\nmod tests {}\n".into(),
        };
        assert_eq!(source.program().collect::<Vec<_>>(), [(1, "fn a() {} ")]);
        let source = Source {
            path: "a/tests.rs".into(),
            text: "fn a() {}".into(),
        };
        assert_eq!(source.program().count(), 0);
    }
}
