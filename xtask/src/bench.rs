//! `cargo xtask bench`: netpath compared with iptables and with plain routing.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};

use crate::{build, command, programs, toolchain::Install, workspace::Workspace};

/// Compares netpath with dockerd's iptables rules and with plain routing, in one run.
///
/// Example: cargo xtask bench udp connect --rounds 15 --json result.json
#[derive(clap::Args)]
pub struct Args {
    /// tcp, udp, http, connect, prog, node, deny; all if none is named.
    names: Vec<String>,
    /// Number of rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Duration of each measurement in seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// A quick estimate: three rounds of half a second; `node` and `deny` measure IPv4 only.
    #[arg(long)]
    quick: bool,
    /// Use IPv6. Without it, `node` and `deny` measure both families, and everything else IPv4.
    #[arg(long)]
    v6: bool,
    /// Compare with the rules of `dockerd --userland-proxy=false`.
    #[arg(long)]
    no_userland_proxy: bool,
    /// Compare with a user-defined network, whose containers have rules for Docker's name server.
    #[arg(long)]
    user_network: bool,
    /// Only flows opened in this direction: published or outbound.
    #[arg(long)]
    path: Option<String>,
    /// Only rows of `node` and `deny` whose name contains this text, such as "replies, IPv4".
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Only this setup, for a profiler: netpath, iptables or routing.
    #[arg(long, value_name = "SETUP")]
    only: Option<String>,
    /// Build without optimisation, which takes less time. For `prog`, `node` and `deny`, whose measured code is in the kernel:
    /// the BPF object is always optimised.
    #[arg(long)]
    debug: bool,
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
    let binary = build::build(&workspace, !args.debug, install)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package=netpath-tests", "--bin=bench"]);
    if !args.debug {
        cargo.arg("--release");
    }
    command::run(&mut cargo)?;

    let profile = if args.debug { "debug" } else { "release" };
    let mut bench = command::as_root(workspace.target.join(profile).join("bench"))?;
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
    for (flag, value) in [
        ("--path", &args.path),
        ("--filter", &args.filter),
        ("--only", &args.only),
    ] {
        if let Some(value) = value {
            bench.arg(format!("{flag}={value}"));
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
