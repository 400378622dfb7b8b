//! `cargo xtask bench`: netpath compared with iptables and with plain routing.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};

use crate::{build, command, programs, toolchain::Install, workspace::Workspace};

/// Compares netpath with dockerd's iptables rules and with plain routing, in one run.
///
/// Example: cargo xtask bench udp connect --rounds 15 --json result.json
#[derive(clap::Args)]
pub struct Args {
    /// tcp, udp, http, connect, prog; all if none is named.
    names: Vec<String>,
    /// Number of rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Duration of each measurement in seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// A quick estimate: three rounds of half a second.
    #[arg(long)]
    quick: bool,
    /// Use IPv6.
    #[arg(long)]
    v6: bool,
    /// Compare with the rules of `dockerd --userland-proxy=false`.
    #[arg(long)]
    no_userland_proxy: bool,
    /// Compare with a user-defined network, whose containers have rules for Docker's name server.
    #[arg(long)]
    user_network: bool,
    /// Write the results to a file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Install nothing; report what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let install = Install::unless(args.no_install);
    if !workspace.has_target("netpath-tests", "bin", "bench") {
        bail!("the package netpath-tests has no program `bench`");
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
    for (flag, given) in [
        ("--quick", args.quick),
        ("--v6", args.v6),
        ("--no-userland-proxy", args.no_userland_proxy),
        ("--user-network", args.user_network),
    ] {
        if given {
            bench.arg(flag);
        }
    }
    if let Some(rounds) = args.rounds {
        bench.arg(format!("--rounds={rounds}"));
    }
    if let Some(seconds) = args.seconds {
        bench.arg(format!("--seconds={seconds}"));
    }
    if let Some(file) = &args.json {
        bench.arg("--json").arg(file);
    }
    Ok(command::exit_code(command::status(&mut bench)?))
}
