//! `cargo xtask ci`: exactly what the CI runs, in order.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    build, command::step, demo, fuzz, lint, programs, test, toolchain::Install,
    workspace::Workspace,
};

/// Runs what the CI runs: the checks, the build, the demo, a minute of fuzzing, and last the tests.
///
/// Example: cargo xtask ci
#[derive(clap::Args)]
pub struct Args {
    /// Install nothing: check, and say what to install.
    #[arg(long)]
    no_install: bool,
}

/// Runs the verb. The tests come last, so that their summary ends the log.
pub fn main(args: &Args) -> Result<ExitCode> {
    let install = Install::unless(args.no_install);
    let workspace = Workspace::load()?;
    step!("ci 1/5: lint");
    lint::run(&workspace, install)?;
    step!("ci 2/5: build");
    let binary = build::build(&workspace, false, install)?;
    step!("ci 3/5: demo");
    programs::ensure(programs::DEMO, install)?;
    let demo = demo::start(&binary)?;
    if demo != ExitCode::SUCCESS {
        return Ok(demo);
    }
    step!("ci 4/5: fuzz");
    fuzz::run(&workspace, fuzz::SECONDS, install)?;
    step!("ci 5/5: test");
    test::run(&workspace, &test::Selection::all(), install)
}
