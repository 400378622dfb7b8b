//! `cargo xtask tidy`: the rules of `netpath/docs/architecture.md` that a compiler does not check.
//!
//! Each rule is a function from the files of the tree to complaints; [`RULES`] lists them. Each rule is a unit test
//! too.

mod boundaries;
mod compliance;
mod exceptions;
mod functions;
mod imports;
mod manifests;
mod modules;
mod schema;
mod text;
pub mod tree;

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};

use crate::{command::step, workspace::Workspace};
use tree::Source;

/// Checks the rules of the architecture: layers, libraries, length of files and functions, map schema, manifests.
///
/// Example: cargo xtask tidy
#[derive(clap::Args)]
pub struct Args {
    /// Record the current map schema. Raise `SCHEMA_VERSION` first, unless no release has this version.
    #[arg(long)]
    bless: bool,
}

/// A rule: its name, and the function that returns complaints.
type Rule = (&'static str, fn(&[Source]) -> Vec<String>);

/// All rules.
const RULES: [Rule; 12] = [
    ("boundaries between modules", boundaries::modules),
    ("pure modules", boundaries::pure),
    ("unsafe only where listed", boundaries::unsafe_code),
    ("layers", imports::layers),
    ("import cycles", imports::cycles),
    ("length of functions", functions::length),
    ("length of files", text::length),
    ("unfinished work", text::unfinished),
    ("white space", text::white_space),
    ("paths of one machine", text::machine_paths),
    ("manifests", manifests::lints),
    ("requirements are documented", compliance::page),
];

/// Runs the command.
pub fn main(args: &Args) -> Result<ExitCode> {
    let root = Workspace::load()?.root;
    if args.bless {
        schema::bless(&root)?;
        step!("recorded the map schema in {}", schema::LOCK);
    }
    check(&root)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks every rule and prints all complaints.
pub fn check(root: &Path) -> Result<()> {
    let sources = tree::sources(root)?;
    let mut complaints: Vec<_> = RULES.iter().flat_map(|(_, rule)| rule(&sources)).collect();
    complaints.extend(schema::check(root)?);
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        count => bail!("{count} complaints about the rules in netpath/docs/architecture.md"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    /// Runs one rule on the tree.
    fn holds(name: &str) {
        let sources = tree::sources(&workspace::root()).unwrap();
        let (_, rule) = RULES.iter().find(|(found, _)| *found == name).unwrap();
        let complaints = rule(&sources);
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    #[test]
    fn libraries_are_used_in_their_modules_only() {
        holds("boundaries between modules");
    }

    #[test]
    fn pure_modules_have_no_io_clock_or_randomness() {
        holds("pure modules");
    }

    #[test]
    fn unsafe_code_is_in_listed_places_only() {
        holds("unsafe only where listed");
    }

    #[test]
    fn modules_import_lower_layers_only() {
        holds("layers");
    }

    #[test]
    fn modules_import_without_cycles() {
        holds("import cycles");
    }

    #[test]
    fn functions_are_short() {
        holds("length of functions");
    }

    #[test]
    fn files_are_short() {
        holds("length of files");
    }

    #[test]
    fn no_file_has_unfinished_work() {
        holds("unfinished work");
    }

    #[test]
    fn lines_and_files_end_cleanly() {
        holds("white space");
    }

    #[test]
    fn no_file_has_a_machine_path() {
        holds("paths of one machine");
    }

    #[test]
    fn every_crate_inherits_the_lints() {
        holds("manifests");
    }

    #[test]
    fn every_requirement_is_documented() {
        holds("requirements are documented");
    }

    #[test]
    fn map_schema_is_recorded() {
        let complaint = schema::check(&workspace::root()).unwrap();
        assert_eq!(complaint, None);
    }
}
