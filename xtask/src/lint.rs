//! `cargo xtask lint` and `fmt`: static checks of the source.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::{
    command,
    command::step,
    tidy,
    toolchain::{Install, apt},
    workspace::Workspace,
};

/// Checks format, lints, documentation, dependencies and the rules of the architecture.
///
/// Example: cargo xtask lint
#[derive(clap::Args)]
pub struct Args {
    /// Install nothing; report what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Formats all Rust files.
///
/// Example: cargo xtask fmt
#[derive(clap::Args)]
pub struct FmtArgs {
    /// Change nothing; fail if a file is not formatted.
    #[arg(long)]
    check: bool,
}

/// Runs `lint`.
pub fn main(args: &Args) -> Result<ExitCode> {
    run(&Workspace::load()?, Install::unless(args.no_install))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `fmt`.
pub fn fmt(args: &FmtArgs) -> Result<ExitCode> {
    ensure_component("rustfmt", "rustfmt", Install::Missing)?;
    format(&Workspace::load()?, args.check)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the checks, the fastest first.
pub fn run(workspace: &Workspace, install: Install) -> Result<()> {
    let rustfmt = ensure_component("rustfmt", "rustfmt", install)?;
    let clippy = ensure_component("clippy", "cargo-clippy", install)?;

    step!("tidy");
    tidy::check(&workspace.root)?;
    if rustfmt {
        step!("format");
        format(workspace, true)?;
    }
    dependencies(workspace)?;
    if clippy {
        step!("clippy");
        let check = [
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-Dwarnings",
        ];
        command::run(workspace.cargo().args(check))?;
    }
    step!("documentation");
    command::run(
        workspace
            .cargo()
            .args([
                "doc",
                "--quiet",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--exclude=netpath-tests",
            ])
            .env("RUSTDOCFLAGS", "-Dwarnings"),
    )
}

fn format(workspace: &Workspace, check: bool) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["fmt", "--all"]);
    if check {
        cargo.arg("--check");
    }
    command::run(&mut cargo)
}

/// Checks licences and advisories, if the tool is installed; compiling it takes minutes.
fn dependencies(workspace: &Workspace) -> Result<()> {
    if command::find("cargo-deny").is_none() {
        step!(
            "dependencies: skipped, `cargo deny` is not installed (cargo install cargo-deny --locked)"
        );
        return Ok(());
    }
    step!("dependencies");
    command::run(
        workspace
            .cargo()
            .args(["deny", "--config=.github/config/deny.toml", "check"]),
    )
}

/// Ensures that a component of the toolchain is installed, by rustup or by Debian's package of the same name. False if
/// it is not available: Debian's compiler has no clippy.
fn ensure_component(component: &str, program: &str, install: Install) -> Result<bool> {
    if Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Ok(true);
    }
    if !install.allowed() {
        bail!("{component} is missing: run `rustup component add {component}`");
    }
    if command::find("rustup").is_some() {
        step!("rustup component add {component}");
        command::run(Command::new("rustup").args(["component", "add", component]))?;
        return Ok(true);
    }
    let package = format!("{component}-web");
    let offered = apt::offers(&package, (1, 0))?;
    if offered {
        apt::install(&[&package])?;
    } else {
        step!("{component}: skipped, neither rustup nor apt offers it");
    }
    Ok(offered)
}
