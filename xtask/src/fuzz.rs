//! `cargo xtask fuzz`: a search, guided by coverage, for a packet that is parsed or rewritten wrongly.
//!
//! The target is built here and not by `cargo fuzz`, see decision 0009.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{command, command::step, programs, toolchain::Install, workspace::Workspace};

/// The package of the target.
const PACKAGE: &str = "netpath-fuzz";
/// Its binary.
const TARGET: &str = "packet";
/// The inputs that are kept, from the root of the checkout.
const CORPUS: &str = "netpath-ebpf/fuzz/corpus";

/// What makes the compiler count edges and trace comparisons, as libFuzzer wants it. All of them are stable flags.
const COVERAGE: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
    // With more units, parts of a crate would lie in objects whose counters the linker drops.
    "-Ccodegen-units=1",
    "-Cpanic=abort",
];

/// Fast, with every check that a build for tests has.
const PROFILE: [&str; 3] = [
    "profile.release.debug-assertions=true",
    "profile.release.overflow-checks=true",
    "profile.release.opt-level=3",
];

/// No header is looked for behind this many bytes, and small inputs are tried more often.
const LONGEST: usize = 1024;

/// Searches for packets that netpath parses or rewrites wrongly.
///
/// Example: cargo xtask fuzz --seconds 600
#[derive(clap::Args)]
pub struct Args {
    /// How long to search.
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: u32,
    /// Afterwards, put into the corpus the least inputs that cover what was found.
    #[arg(long)]
    keep: bool,
    /// Instead of searching, run this one input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "keep"])]
    input: Option<PathBuf>,
    /// Install nothing: check, and say what to install.
    #[arg(long)]
    no_install: bool,
}

/// How long a search takes in the CI.
pub const SECONDS: u32 = 60;

/// Runs the verb.
pub fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let install = Install::unless(args.no_install);
    if let Some(input) = &args.input {
        let target = build(&workspace, install)?;
        let status = command::status(Command::new(target).arg(input))?;
        return Ok(command::exit_code(status));
    }
    run(&workspace, args.seconds, install)?;
    if args.keep {
        keep(&workspace, &build(&workspace, install)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the target and searches from the corpus.
///
/// # Errors
/// If an input breaks a property; the message names its file.
pub fn run(workspace: &Workspace, seconds: u32, install: Install) -> Result<()> {
    let target = build(workspace, install)?;
    let failures = directory(workspace, "failures")?;
    let log = work(workspace).join("log");
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    step!("searching for {seconds} s, log in {}", log.display());
    let status = command::status(
        Command::new(target)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={LONGEST}"))
            .arg(format!("-artifact_prefix={}/", failures.display()))
            .args(["-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"])
            // What is new goes into the first directory.
            .arg(directory(workspace, "found")?)
            .arg(workspace.root.join(CORPUS))
            .stderr(output),
    )?;
    let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    if status.success() {
        step!("{}", summary(&said));
        return Ok(());
    }
    eprintln!("{}", complaint(&said));
    match failing_input(&said) {
        Some(input) => bail!(
            "this input breaks a property: {input}\nrun it alone with `cargo xtask fuzz --input {input}`, and copy it \
             to {CORPUS} with the cure"
        ),
        None => bail!("the search ended with {status}, see {}", log.display()),
    }
}

/// Where builds, logs and new inputs are.
fn work(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}

fn directory(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let path = work(workspace).join(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

fn build(workspace: &Workspace, install: Install) -> Result<PathBuf> {
    programs::ensure(programs::FUZZ, install)?;
    let host = command::host()?;
    let directory = directory(workspace, "build")?;
    step!("building the fuzz target");
    let mut cargo = workspace.cargo();
    cargo
        .args(["build", "--quiet", "--release", "--features=libfuzzer"])
        .args(["--package", PACKAGE, "--bin", TARGET])
        // With a target, the flags do not reach build scripts and macros, which run without libFuzzer.
        .args(["--target", &host, "--target-dir"])
        .arg(&directory)
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    command::run(&mut cargo)?;
    Ok(directory.join(host).join("release").join(TARGET))
}

/// Replaces the corpus by the seeds and, of itself and what was found, the least that adds as much coverage.
fn keep(workspace: &Workspace, target: &Path) -> Result<()> {
    let kept = work(workspace).join("kept");
    if kept.exists() {
        fs::remove_dir_all(&kept).with_context(|| format!("cannot empty {}", kept.display()))?;
    }
    let kept = directory(workspace, "kept")?;
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", PACKAGE, "--bin=seeds", "--"]);
    command::run(cargo.arg(&kept))?;
    let corpus = workspace.root.join(CORPUS);
    command::output(
        Command::new(target)
            .args(["-merge=1", &format!("-max_len={LONGEST}")])
            .args([&kept, &corpus])
            .arg(directory(workspace, "found")?),
    )?;
    for file in files(&corpus)? {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    let files = files(&kept)?;
    for file in &files {
        let to = corpus.join(file.file_name().unwrap_or_default());
        fs::copy(file, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    step!("{} inputs in {CORPUS}", files.len());
    Ok(())
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let list = || format!("cannot list {}", directory.display());
    let entries = fs::read_dir(directory).with_context(list)?;
    entries
        .map(|entry| Ok(entry.with_context(list)?.path()))
        .collect()
}

/// How far the search came, out of libFuzzer's last lines.
fn summary(log: &str) -> String {
    let word_after = |key: &str| {
        let after = log.rsplit_once(key)?.1;
        after.split_whitespace().next()
    };
    format!(
        "nothing found in {} inputs; {} edges covered",
        word_after("stat::number_of_executed_units:").unwrap_or("?"),
        word_after(" cov: ").unwrap_or("?")
    )
}

/// What the broken property said, without libFuzzer's part.
fn complaint(log: &str) -> &str {
    let start = log.find("panicked at").unwrap_or(0);
    let said = log.get(start..).unwrap_or(log);
    let end = said.find("\n==");
    said.get(..end.unwrap_or(said.len()))
        .unwrap_or(said)
        .trim_end()
}

/// The file that libFuzzer wrote the failing input to.
fn failing_input(log: &str) -> Option<&str> {
    let line = log.rsplit_once("Test unit written to ")?.1.lines().next()?;
    Some(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_search_is_read() {
        let log = "#9\tDONE   cov: 345 ft: 900 corp: 5/1Kb\nDone 9 runs\n\
                   stat::number_of_executed_units: 12345\nstat::average_exec_per_sec:     99\n";
        assert_eq!(
            summary(log),
            "nothing found in 12345 inputs; 345 edges covered"
        );
        assert_eq!(failing_input(log), None);
    }

    #[test]
    fn the_failing_input_is_named() {
        let log = "panicked at a.rs:1:\nbytes differ\n==7== ERROR\nartifact_prefix='x/'; Test unit written to x/crash-ab\nBase64: RlVaAA==\n";
        assert_eq!(failing_input(log), Some("x/crash-ab"));
        assert_eq!(complaint(log), "panicked at a.rs:1:\nbytes differ");
    }
}
