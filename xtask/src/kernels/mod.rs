//! `cargo xtask test kernels`: the programs and core cases under other kernels, in virtual machines.
//!
//! ```text
//! package ─► initramfs ─► machine ─► report
//! kernel     files        boot       programs, features, tests
//! ```
//!
//! A machine runs the test binaries of this checkout from a root file system in memory. It needs no hardware support
//! for virtualisation. Kernel modules of the package load on demand, as on a real host, so a test may use any device
//! type that the package has (VRF, VLAN, WireGuard, dummy).

mod contents;
mod helpers;
mod initramfs;
mod machine;
mod package;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{build, command::step, programs, toolchain::Install, workspace::Workspace};
use contents::{Contents, Script};
use report::Report;

/// Kernels that are tested unless versions are named.
const VERSIONS: [&str; 4] = ["6.1", "6.6", "6.12", package::NEWEST];
/// Kernels that CI boots.
const CI_VERSIONS: [&str; 2] = ["6.1", "6.12"];

/// Time after which a machine is ended.
const LIMIT: Duration = Duration::from_secs(45 * 60);
/// The same for the part that CI runs.
const CI_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What the virtual machines need on this machine: the emulator, a shell, and tools for kernel modules.
const PROGRAMS: &[programs::Entry] = &[
    ("qemu-system-x86", machine::PROGRAM),
    ("busybox-static", "busybox"),
    ("kmod", "depmod"),
    ("binutils", "strip"),
];

/// Runs the programs and core cases under other kernels in virtual machines.
///
/// Example: cargo xtask test kernels 6.1 --filter takeover
#[derive(clap::Args)]
pub struct Args {
    /// Kernel versions such as 6.12, or `newest`; 6.1, 6.6, 6.12 and newest if none is named.
    #[arg(value_name = "VERSION")]
    versions: Vec<String>,
    /// Only tests with this text in their name, of every level.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Only the part that CI runs: every program loads on 6.1 and 6.12, and the cases of fragments pass.
    #[arg(long, conflicts_with_all = ["versions", "filter", "update_budget"])]
    smoke: bool,
    /// Record the verifier's instruction counts on each kernel in .config/verifier-budget.toml.
    #[arg(long)]
    update_budget: bool,
    /// Show the consoles of the machines.
    #[arg(long)]
    console: bool,
    /// Install nothing; report what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Which tests a machine runs.
enum Tests {
    /// Every program case, and the core end-to-end cases.
    Core,
    /// A part of the program cases.
    Smoke,
    /// Those with a text in their name.
    Named(String),
}

impl Tests {
    /// The filter expression for the test runner.
    fn filter(&self) -> String {
        match self {
            Self::Core => format!("binary(/^prog/) or test(/{CORE}/)"),
            Self::Smoke => format!("binary(prog_cases) and test(/{SMOKE}/)"),
            Self::Named(text) => format!("test({text})"),
        }
    }
}

/// Published ports from every origin, checksums with and without offloads, outbound translation, hairpin, socket
/// programs, takeover by a second daemon, a killed daemon, removal of attachments.
const CORE: &str = "^(gate_(02|04|16)_.*default_offloads|origins::(connected|host|sandbox)|dump::.*source_translation|\
    filters::|takeover::traffic_|teardown::(forced|second))";
/// Cases of fragments, whose lengths the verifiers of old kernels must be able to bound.
const SMOKE: &str = "^fragments::";

/// A run over some kernels.
struct Run<'a> {
    versions: Vec<&'a str>,
    tests: Tests,
    limit: Duration,
    update_budget: bool,
    console: bool,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<ExitCode> {
    let install = Install::unless(args.no_install);
    let workspace = Workspace::load()?;
    let passed = if args.smoke {
        Run::smoke(args.console).start(&workspace, install)?
    } else {
        Run::of(args).start(&workspace, install)?
    };
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The part that CI runs: every program loads on the oldest supported kernels, and the cases of fragments pass.
pub fn smoke(workspace: &Workspace, install: Install) -> Result<()> {
    if Run::smoke(false).start(workspace, install)? {
        Ok(())
    } else {
        bail!("netpath does not work on a supported kernel, see above")
    }
}

impl<'a> Run<'a> {
    fn smoke(console: bool) -> Self {
        Self {
            versions: CI_VERSIONS.to_vec(),
            tests: Tests::Smoke,
            limit: CI_LIMIT,
            update_budget: false,
            console,
        }
    }

    fn of(args: &'a Args) -> Self {
        Self {
            versions: match args.versions.as_slice() {
                [] => VERSIONS.to_vec(),
                versions => versions.iter().map(String::as_str).collect(),
            },
            tests: args.filter.clone().map_or(Tests::Core, Tests::Named),
            limit: LIMIT,
            update_budget: args.update_budget,
            console: args.console,
        }
    }

    /// Tests each kernel; `false` if something failed. A kernel that is in no archive is skipped with a message.
    fn start(&self, workspace: &Workspace, install: Install) -> Result<bool> {
        if std::env::consts::ARCH != "x86_64" {
            bail!("the kernels level needs an x86_64 machine");
        }
        programs::ensure(PROGRAMS, install)?;
        programs::ensure(programs::TESTS, install)?;
        programs::ensure_nextest(install)?;
        let binary = build::build(workspace, false, install)?;
        let directory = workspace.target.join("kernels");
        let contents = Contents::build(workspace, &binary, &directory)?;
        let mut reports = Vec::new();
        for version in &self.versions {
            match package::fetch(version, &directory)? {
                Some(kernel) => reports.push(self.test(workspace, &contents, &kernel, &directory)?),
                None => {
                    step!("Linux {version} is skipped: no package archive of this machine has it")
                }
            }
        }
        let object = fs::read(workspace.bpf_object()).context("cannot read the BPF object")?;
        report::print(&reports, &helpers::by_program(&object)?);
        Ok(reports.iter().all(Report::passed))
    }

    /// What the machine does.
    fn script(&self) -> Script {
        Script {
            filter: self.tests.filter(),
            update_budget: self.update_budget,
            doctor: !matches!(self.tests, Tests::Smoke),
        }
    }

    fn test(
        &self,
        workspace: &Workspace,
        contents: &Contents,
        kernel: &package::Kernel,
        directory: &Path,
    ) -> Result<Report> {
        step!("testing Linux {}", kernel.release);
        let image = directory.join(format!("{}.cpio", kernel.release));
        contents.image(kernel, &self.script())?.write(&image)?;
        let mut report = Report::new(&kernel.release);
        let start = Instant::now();
        let ended = machine::boot(kernel, &image, self.limit, |line| {
            if self.console {
                eprintln!("  {line}");
            }
            report.read(line);
        });
        report.end(start.elapsed(), ended);
        fs::remove_file(&image).context("cannot remove the root file system")?;
        if self.update_budget && !report.budget.is_empty() {
            fs::write(budget(workspace), &report.budget)
                .context("cannot write the verifier budget")?;
        }
        Ok(report)
    }
}

/// The file with the verifier's instruction counts by kernel; `tests/prog/budget.rs` reads and writes it.
fn budget(workspace: &Workspace) -> PathBuf {
    workspace.root.join(".config/verifier-budget.toml")
}
