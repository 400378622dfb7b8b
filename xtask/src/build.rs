//! `cargo xtask build`: the BPF object first, then the binary that contains it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use crate::{
    bpf, command,
    command::step,
    toolchain::{self, Install, Toolchain},
    workspace::Workspace,
};

/// Builds the BPF object and the `netpath` binary.
///
/// Example: cargo xtask build --release
#[derive(clap::Args)]
pub struct Args {
    /// Optimise the binary; the BPF object always is.
    #[arg(long)]
    release: bool,
    /// For debugging: log a line for every dropped packet.
    #[arg(long)]
    trace: bool,
    /// Install nothing; report what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let toolchain = toolchain::ensure(Install::unless(args.no_install))?;
    let binary = build_with(&workspace, &toolchain, args.release, args.trace)?;
    step!("built {}", binary.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds both parts and returns the path of the binary.
pub fn build(workspace: &Workspace, release: bool, install: Install) -> Result<PathBuf> {
    build_with(workspace, &toolchain::ensure(install)?, release, false)
}

fn build_with(
    workspace: &Workspace,
    toolchain: &Toolchain,
    release: bool,
    trace: bool,
) -> Result<PathBuf> {
    bpf::build(workspace, toolchain, trace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package=netpath"]);
    if release {
        cargo.arg("--release");
    }
    if trace {
        cargo.arg("--features=trace");
    }
    step!(
        "building netpath{}",
        if release { " (release)" } else { "" }
    );
    command::run(&mut cargo)?;
    Ok(workspace.netpath(release))
}
