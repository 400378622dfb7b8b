//! `cargo xtask ci`: exactly what the CI runs, in order.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    build, command::step, demo, fuzz, kernels, lint, programs, test, toolchain::Install,
    workspace::Workspace,
};

/// Runs what the CI runs: the checks, the build, the demo, the programs on other kernels, a minute of fuzzing, and last
/// the tests.
///
/// Example: cargo xtask ci
#[derive(clap::Args)]
pub struct Args {
    /// Install nothing; report what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Runs the command. The tests come last, so that their summary ends the log.
pub fn main(args: &Args) -> Result<ExitCode> {
    let install = Install::unless(args.no_install);
    let workspace = Workspace::load()?;
    step!("ci 1/6: lint");
    lint::run(&workspace, install)?;
    step!("ci 2/6: build");
    let binary = build::build(&workspace, false, install)?;
    step!("ci 3/6: demo");
    programs::ensure(programs::DEMO, install)?;
    let demo = demo::start(&binary)?;
    if demo != ExitCode::SUCCESS {
        return Ok(demo);
    }
    step!("ci 4/6: other kernels");
    kernels::smoke(&workspace, install)?;
    step!("ci 5/6: fuzz");
    fuzz::run(&workspace, fuzz::SECONDS, install)?;
    step!("ci 6/6: test");
    test::run(&workspace, &test::Selection::all(), install)
}
