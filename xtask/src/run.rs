//! `cargo xtask run`: builds netpath and starts the daemon on this host, or runs the demo.

use std::{os::unix::process::CommandExt, process::ExitCode};

use anyhow::{Context, Result};

use crate::{
    build, command, command::step, demo, programs, toolchain::Install, workspace::Workspace,
};

/// Builds netpath and starts the daemon on this host in the foreground.
///
/// Example: cargo xtask run --release -- --uplink eth0
#[derive(clap::Args)]
pub struct Args {
    /// Build with optimisation.
    #[arg(long)]
    release: bool,
    /// Install nothing; report what is missing.
    #[arg(long)]
    no_install: bool,
    /// Run the demo in temporary namespaces instead; this host is not changed.
    #[arg(long, conflicts_with = "daemon")]
    demo: bool,
    /// Arguments of `netpath daemon`.
    #[arg(last = true, value_name = "DAEMON ARGS")]
    daemon: Vec<String>,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let install = Install::unless(args.no_install);
    let binary = build::build(&workspace, args.release, install)?;
    if args.demo {
        programs::ensure(programs::DEMO, install)?;
        return demo::start(&binary);
    }
    let mut daemon = command::as_root(&binary)?;
    daemon.arg("daemon").args(&args.daemon);
    step!("{}", command::shown(&daemon));
    eprintln!("\nIn another terminal:\n");
    let sudo = if command::is_root() { "" } else { "sudo " };
    let netpath = format!("{sudo}{}", binary.display());
    for next in [
        "status",
        "run -d --name web -p 8080:8080 -- python3 -m http.server 8080",
        "port ls",
        "map dump nat",
        "teardown",
    ] {
        eprintln!("  {netpath} {next}");
    }
    eprintln!("\nCtrl-C stops the daemon; its networks keep working until `netpath teardown`.\n");
    Err(daemon.exec()).context("cannot start the daemon")
}
