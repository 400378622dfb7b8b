//! The layout of pinned maps changes only together with `SCHEMA_VERSION`, which is part of the pin path.
//!
//! A file records the version and a fingerprint of the sources that define the layout, without their comments.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::tree;

/// The file with the recorded version and fingerprint.
pub const LOCK: &str = ".config/map-schema.lock";
/// Files that define the layout; a directory ends in `/`.
const SOURCES: [&str; 5] = [
    "src/maps/",
    "src/addr.rs",
    "src/flow/",
    "src/hook.rs",
    "src/reason.rs",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Schema {
    version: u32,
    fingerprint: u64,
}

impl Schema {
    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='))
        };
        let version = value("version")?.trim().parse().ok()?;
        let fingerprint = u64::from_str_radix(value("fingerprint")?.trim(), 16).ok()?;
        Some(Self {
            version,
            fingerprint,
        })
    }
}

/// A complaint if the layout differs from the recorded one.
pub fn check(root: &Path) -> Result<Option<String>> {
    let now = current(root)?;
    let recorded = fs::read_to_string(root.join(LOCK))
        .ok()
        .as_deref()
        .and_then(Schema::parse);
    Ok(compare(recorded, now))
}

/// Records the current layout.
pub fn bless(root: &Path) -> Result<()> {
    let Schema {
        version,
        fingerprint,
    } = current(root)?;
    let text = format!(
        "# The map schema as `cargo xtask tidy --bless` saw it last; see xtask/src/tidy/schema.rs.\n\
         version = {version}\nfingerprint = {fingerprint:016x}\n"
    );
    fs::write(root.join(LOCK), text).with_context(|| format!("cannot write {LOCK}"))
}

fn compare(recorded: Option<Schema>, now: Schema) -> Option<String> {
    let bless = "run `cargo xtask tidy --bless`";
    match recorded {
        None => Some(format!("{LOCK}: missing or damaged: {bless}")),
        Some(recorded) if recorded == now => None,
        Some(recorded) if recorded.version == now.version => Some(format!(
            "netpath-common/src/maps/schema.rs: the map layout changed but SCHEMA_VERSION is still {}: raise it, then \
             {bless}; without raising it only if no release has this version yet",
            now.version
        )),
        Some(recorded) => Some(format!(
            "{LOCK}: records version {}, SCHEMA_VERSION is {}: {bless}",
            recorded.version, now.version
        )),
    }
}

fn current(root: &Path) -> Result<Schema> {
    let common = root.join("netpath-common");
    let sources = tree::sources(&common)?;
    let layout: Vec<_> = sources
        .iter()
        .filter(|source| source.is_in(&SOURCES))
        .collect();
    let version = layout
        .iter()
        .flat_map(|source| source.text.lines())
        .find_map(|line| {
            line.strip_prefix("pub const SCHEMA_VERSION: u32 = ")?
                .strip_suffix(';')?
                .parse()
                .ok()
        })
        .context(
            "netpath-common/src/maps/schema.rs has no line `pub const SCHEMA_VERSION: u32 = N;`",
        )?;
    let lines = layout
        .iter()
        .flat_map(|source| source.program())
        .map(|(_, line)| line.trim());
    // The line with the version is not part of the layout.
    let fingerprint =
        fingerprint(lines.filter(|line| !line.is_empty() && !line.contains("SCHEMA_VERSION")));
    Ok(Schema {
        version,
        fingerprint,
    })
}

/// FNV-1a over the lines, to detect accidental changes.
fn fingerprint<'a>(lines: impl Iterator<Item = &'a str>) -> u64 {
    let bytes = lines.flat_map(|line| line.bytes().chain([b'\n']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_layout_requires_a_new_version() {
        let old = Schema {
            version: 1,
            fingerprint: 7,
        };
        assert_eq!(compare(Some(old), old), None);
        let changed = compare(
            Some(old),
            Schema {
                fingerprint: 8,
                ..old
            },
        )
        .unwrap();
        assert!(changed.contains("raise it"), "{changed}");
        let raised = compare(
            Some(old),
            Schema {
                version: 2,
                fingerprint: 8,
            },
        )
        .unwrap();
        assert!(raised.contains("--bless"), "{raised}");
        assert!(compare(None, old).is_some());
    }

    #[test]
    fn recorded_layout_is_read_back() {
        let text = "# comment\nversion = 3\nfingerprint = 00000000000000ff\n";
        assert_eq!(
            Schema::parse(text),
            Some(Schema {
                version: 3,
                fingerprint: 255
            })
        );
        assert_eq!(Schema::parse("version = 3\n"), None);
    }

    #[test]
    fn fingerprint_is_fnv() {
        assert_eq!(fingerprint([].into_iter()), 0xcbf2_9ce4_8422_2325);
        assert_ne!(
            fingerprint(["a", "b"].into_iter()),
            fingerprint(["ab"].into_iter())
        );
    }
}
