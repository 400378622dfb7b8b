//! `cargo xtask bench`: side-by-side measurements with ratios.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};

use crate::{build, command, programs, toolchain::Install, workspace::Workspace};

/// Measures netpath beside iptables, nftables and plain routing in one run.
///
/// Example: cargo xtask bench tcp-stream --json result.json
#[derive(clap::Args)]
pub struct Args {
    /// Which measurements; all if none is named.
    names: Vec<String>,
    /// Write the results to a file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Install nothing: check, and say what to install.
    #[arg(long)]
    no_install: bool,
}

/// Runs the verb.
pub fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let install = Install::unless(args.no_install);
    if !workspace.has_target("netpath-tests", "bin", "bench") {
        bail!("the package netpath-tests has no program `bench` yet");
    }
    programs::ensure(programs::TESTS, install)?;
    let binary = build::build(&workspace, true, install)?;
    command::run(workspace.cargo().args([
        "build",
        "--release",
        "--package=netpath-tests",
        "--bin=bench",
    ]))?;

    let mut bench = command::as_root(workspace.target.join("release/bench"))?;
    bench
        .env("NETPATH_BIN", binary)
        .env("NETPATH_BPF_OBJECT", workspace.bpf_object())
        .args(&args.names);
    if let Some(file) = &args.json {
        bench.arg("--json").arg(file);
    }
    Ok(command::exit_code(command::status(&mut bench)?))
}
