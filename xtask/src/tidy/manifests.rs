//! Rules for `Cargo.toml` files.

use super::tree::Source;

/// Every crate inherits lints, version, edition and licence from the workspace.
pub fn lints(sources: &[Source]) -> Vec<String> {
    let manifests = sources
        .iter()
        .filter(|source| source.path.ends_with("/Cargo.toml"));
    let mut complaints = Vec::new();
    for source in manifests {
        let mut lines = source
            .text
            .lines()
            .skip_while(|line| line.trim() != "[lints]")
            .skip(1);
        if lines.next().map(str::trim) != Some("workspace = true") {
            complaints.push(format!(
                "{}: has no `[lints] workspace = true`",
                source.path
            ));
        }
        for field in ["version", "edition", "license"] {
            if !source
                .text
                .lines()
                .any(|line| line.trim() == format!("{field}.workspace = true"))
            {
                complaints.push(format!(
                    "{}: has no `{field}.workspace = true`",
                    source.path
                ));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crate_without_workspace_lints_is_found() {
        let package = "[package]\nversion.workspace = true\nedition.workspace = true\nlicense.workspace = true\n";
        let with = |rest: &str| {
            vec![Source {
                path: "a/Cargo.toml".into(),
                text: format!("{package}{rest}"),
            }]
        };
        assert_eq!(lints(&with("")).len(), 1);
        assert!(lints(&with("[lints]\nworkspace = true\n")).is_empty());
    }
}
