//! `cargo xtask build`: the BPF object first, then the binary that carries it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use crate::{
    bpf, command,
    command::step,
    toolchain::{self, Install},
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
    /// Install nothing: check, and say what to install.
    #[arg(long)]
    no_install: bool,
}

/// Runs the verb.
pub fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let binary = build(&workspace, args.release, Install::unless(args.no_install))?;
    step!("built {}", binary.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds both parts and returns the path of the binary.
pub fn build(workspace: &Workspace, release: bool, install: Install) -> Result<PathBuf> {
    let toolchain = toolchain::ensure(install)?;
    bpf::build(workspace, &toolchain)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package=netpath"]);
    if release {
        cargo.arg("--release");
    }
    step!(
        "building netpath{}",
        if release { " (release)" } else { "" }
    );
    command::run(&mut cargo)?;
    Ok(workspace.netpath(release))
}
