//! `cargo xtask test`: all levels in one run of the test runner, so that its last line counts them all.

use std::{
    process::{Command, ExitCode},
    thread,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    build, command, command::step, devices, engines, kernels, programs, stores, toolchain::Install,
    workspace::Workspace,
};

/// The packages whose tests need no root.
const UNIT: [&str; 5] = [
    "netpath",
    "netpath-common",
    "netpath-ebpf",
    "netpath-fuzz",
    "xtask",
];
/// The package of the tests that need root; it has a test target per level.
const TESTS: &str = "netpath-tests";

/// A level of tests; see `tests/README.md`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Model, address management, plans, parsers, tables: needs no root.
    Unit,
    /// Every BPF program by test run: needs root.
    Prog,
    /// A real daemon with real namespaces and clients: needs root.
    E2e,
    /// Several nodes and the servers of distributed stores: needs root, etcd and Consul.
    Cluster,
    /// Kills, deleted links, full maps, under traffic: needs root.
    Fault,
    /// The same packets through netfilter: needs root and iptables.
    Oracle,
    /// Real container engines in private namespaces: needs root, and installs the engines below the target directory.
    Engines,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Prog => "prog",
            Self::E2e => "e2e",
            Self::Cluster => "cluster",
            Self::Fault => "fault",
            Self::Oracle => "oracle",
            Self::Engines => "engines",
        }
    }

    /// The test targets of this level; not all need exist.
    fn targets(self) -> &'static [&'static str] {
        match self {
            Self::Unit => &[],
            Self::Prog => &["prog", "prog_cases"],
            Self::E2e => &["e2e", "compliance", "lifecycle"],
            Self::Cluster => &["cluster"],
            Self::Fault => &["fault", "fault_refused"],
            Self::Oracle => &["differential"],
            Self::Engines => &["engines"],
        }
    }

    fn exists(self, workspace: &Workspace) -> bool {
        let there = |name: &&str| workspace.has_target(TESTS, "test", name);
        self == Self::Unit || self.targets().iter().any(there)
    }

    /// The tests of this level, as a filter expression of the test runner.
    fn filter(self) -> String {
        match self {
            Self::Unit => format!("(not package({TESTS}) or kind(lib))"),
            level => format!(
                "(package({TESTS}) and kind(test) and binary(/^({})$/))",
                level.targets().join("|")
            ),
        }
    }

    fn needs_programs(self) -> bool {
        !matches!(self, Self::Unit | Self::Prog)
    }
}

/// Runs the tests: all levels, or those that are named.
///
/// Example: cargo xtask test unit prog --filter icmp
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    machines: Option<Machines>,
    /// Levels to run; all that exist if none is named.
    #[arg(value_enum)]
    levels: Vec<Level>,
    /// Only tests with this text in their name.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Install nothing; report what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Tests that need virtual machines.
#[derive(clap::Subcommand)]
enum Machines {
    Kernels(kernels::Args),
}

/// Which tests to run.
pub struct Selection {
    levels: Vec<Level>,
    filter: Option<String>,
}

impl Selection {
    /// Every test of every level.
    pub fn all() -> Self {
        Self {
            levels: Vec::new(),
            filter: None,
        }
    }
}

/// Runs the command.
pub fn main(args: &Args) -> Result<ExitCode> {
    if let Some(Machines::Kernels(args)) = &args.machines {
        return kernels::main(args);
    }
    let selection = Selection {
        levels: args.levels.clone(),
        filter: args.filter.clone(),
    };
    run(
        &Workspace::load()?,
        &selection,
        Install::unless(args.no_install),
    )
}

/// Prepares what the levels need and runs them. The exit code is the test runner's.
pub fn run(workspace: &Workspace, selection: &Selection, install: Install) -> Result<ExitCode> {
    let mut levels = levels(workspace, &selection.levels)?;
    programs::ensure_nextest(install)?;
    if levels.iter().any(|level| level.needs_programs()) {
        programs::ensure(programs::TESTS, install)?;
    }
    let rooted = levels.iter().any(|level| *level != Level::Unit);
    let mut nextest = workspace.cargo();
    if rooted {
        let binary = build::build(workspace, false, install)?;
        nextest = workspace.cargo();
        nextest
            .env("NETPATH_BIN", binary)
            .env("NETPATH_BPF_OBJECT", workspace.bpf_object());
    }
    let mut skipped = Vec::new();
    if levels.contains(&Level::Cluster) {
        let stores = stores::ensure(workspace, install)?;
        nextest.envs(stores.consul.map(|program| ("NETPATH_CONSUL", program)));
        skipped = stores.missing;
    }
    if levels.contains(&Level::Engines) && !has_engines(workspace, install, &mut nextest) {
        levels.retain(|level| *level != Level::Engines);
        if levels.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let documentation = match &selection.filter {
        None if levels.contains(&Level::Unit) => documentation(workspace)?,
        _ => ExitCode::SUCCESS,
    };

    nextest.args(["nextest", "run", "--test-threads", &threads().to_string()]);
    if levels.contains(&Level::Unit) {
        nextest.args(UNIT.iter().flat_map(|package| ["--package", package]));
    }
    if rooted {
        nextest.args(["--package", TESTS]);
        if !command::is_root() {
            run_tests_as_root(&mut nextest)?;
        }
    }
    let mut filter = filter(&levels)?;
    for store in skipped {
        // The tests with a store are in modules of its name.
        filter = format!("({filter}) and not (binary(cluster) and test(/(^|::){store}::/))");
    }
    nextest.args(["-E", &filter]);
    nextest.args(&selection.filter);
    step!(
        "testing {}",
        levels
            .iter()
            .map(|level| level.name())
            .collect::<Vec<_>>()
            .join(", ")
    );
    let status = command::status(&mut nextest)?;
    Ok(if status.success() {
        documentation
    } else {
        command::exit_code(status)
    })
}

/// Whether a container engine could be installed, of which the tests are told. Otherwise it is reported.
fn has_engines(workspace: &Workspace, install: Install, nextest: &mut Command) -> bool {
    match engines::docker(workspace, install) {
        Ok(directory) => {
            nextest.env(engines::VARIABLE, directory);
            true
        }
        Err(error) => {
            step!(
                "SKIPPED: the tests docker_*, because Docker Engine cannot be installed: {error:#}"
            );
            false
        }
    }
}

/// The tests of these levels, except those of device types that the kernel lacks, which are reported.
fn filter(levels: &[Level]) -> Result<String> {
    let expressions: Vec<_> = levels.iter().map(|level| level.filter()).collect();
    let all = expressions.join(" or ");
    if !levels.contains(&Level::E2e) {
        return Ok(all);
    }
    let missing = devices::missing()?;
    for kind in &missing {
        step!(
            "SKIPPED: the tests {}{kind}_*, because this kernel has no {kind} devices; run `cargo xtask test kernels`",
            devices::TESTS
        );
    }
    if missing.is_empty() {
        return Ok(all);
    }
    let skipped = format!("^{}({})_", devices::TESTS, missing.join("|"));
    Ok(format!("({all}) and not test(/{skipped}/)"))
}

/// Number of parallel tests: 1.5 per CPU, because a test with a daemon waits for the kernel a third of the time.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from) * 3 / 2
}

/// The levels to run. A level without tests is an error if it is named; otherwise it is reported and skipped.
fn levels(workspace: &Workspace, named: &[Level]) -> Result<Vec<Level>> {
    if let Some(level) = named.iter().find(|level| !level.exists(workspace)) {
        bail!(
            "there are no {} tests: the package {TESTS} has no test target {}",
            level.name(),
            level.targets().join(", ")
        );
    }
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let (present, absent): (Vec<Level>, Vec<Level>) = Level::value_variants()
        .iter()
        .partition(|level| level.exists(workspace));
    if !absent.is_empty() {
        let names: Vec<_> = absent.iter().map(|level| level.name()).collect();
        step!("no tests of level {} exist yet", names.join(", "));
    }
    Ok(present)
}

/// The examples in the documentation, which the test runner does not run. Prints output only on failure.
fn documentation(workspace: &Workspace) -> Result<ExitCode> {
    step!("testing the examples in the documentation");
    let mut cargo = workspace.cargo();
    cargo.args([
        "test",
        "--quiet",
        "--doc",
        "--package=netpath",
        "--package=netpath-common",
    ]);
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(command::exit_code(output.status))
}

/// Cargo builds as the user; only the test programs run as root.
fn run_tests_as_root(nextest: &mut Command) -> Result<()> {
    let variable = format!(
        "CARGO_TARGET_{}_RUNNER",
        command::host()?.replace('-', "_").to_uppercase()
    );
    let sudo = command::shown(&command::as_root("")?);
    nextest.env(variable, sudo.trim_end());
    Ok(())
}
