//! Commands for developers and CI in a checkout: `cargo xtask VERB`. One file or folder per verb.

mod bench;
mod bpf;
mod build;
mod ci;
mod command;
mod demo;
mod devices;
mod dist;
mod engines;
mod fuzz;
mod kernels;
mod lint;
mod programs;
mod run;
mod stores;
mod test;
mod tidy;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Builds, runs, tests and checks netpath from source.
///
/// On a new machine `cargo xtask run --demo` and `cargo xtask test` are enough. They install missing tools, and
/// announce each step before it runs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    Build(build::Args),
    Run(run::Args),
    Test(test::Args),
    Bench(bench::Args),
    Fuzz(fuzz::Args),
    Lint(lint::Args),
    Fmt(lint::FmtArgs),
    Tidy(tidy::Args),
    Ci(ci::Args),
    Dist(dist::Args),
    #[command(hide = true)]
    Demo(demo::Args),
    #[command(hide = true, subcommand)]
    Peer(demo::peer::Args),
}

fn main() -> ExitCode {
    match dispatch(Verb::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Build(args) => build::main(&args),
        Verb::Run(args) => run::main(&args),
        Verb::Test(args) => test::main(&args),
        Verb::Bench(args) => bench::main(&args),
        Verb::Fuzz(args) => fuzz::main(&args),
        Verb::Lint(args) => lint::main(&args),
        Verb::Fmt(args) => lint::fmt(&args),
        Verb::Tidy(args) => tidy::main(&args),
        Verb::Ci(args) => ci::main(&args),
        Verb::Dist(args) => dist::main(&args),
        Verb::Demo(args) => demo::main(&args),
        Verb::Peer(args) => demo::peer::main(&args),
    }
}
