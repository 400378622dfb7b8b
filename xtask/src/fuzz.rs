//! `cargo xtask fuzz`: a coverage-guided search for packets that are parsed or rewritten wrongly.
//!
//! `cargo fuzz` is not used; see decision 0009.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{command, command::step, programs, toolchain::Install, workspace::Workspace};

/// The package of the fuzz target.
const PACKAGE: &str = "netpath-fuzz";
/// The binary of the fuzz target.
const TARGET: &str = "packet";
/// The directory of the corpus, relative to the checkout.
const CORPUS: &str = "netpath-ebpf/fuzz/corpus";

/// Compiler flags for the coverage counters and comparison traces of libFuzzer. All of them are stable.
const COVERAGE: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
    // With more codegen units, the linker would drop the counters of some objects.
    "-Ccodegen-units=1",
    "-Cpanic=abort",
];

/// Optimised, with the assertions and overflow checks of a debug build.
const PROFILE: [&str; 3] = [
    "profile.release.debug-assertions=true",
    "profile.release.overflow-checks=true",
    "profile.release.opt-level=3",
];

/// Longest input in bytes. Headers end before it, and small inputs run faster.
const LONGEST: usize = 1024;

/// Searches for packets that netpath parses or rewrites wrongly.
///
/// Example: cargo xtask fuzz --seconds 600
#[derive(clap::Args)]
pub struct Args {
    /// Duration of the search in seconds.
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: u32,
    /// Add to the corpus the smallest set of found inputs with the same coverage.
    #[arg(long)]
    keep: bool,
    /// Run only this input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "keep"])]
    input: Option<PathBuf>,
    /// Install nothing; report what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Duration of the search in CI, in seconds.
pub const SECONDS: u32 = 60;

/// Runs the command.
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

/// Builds the target and searches, starting from the corpus.
///
/// # Errors
/// If an input violates a property; the message contains the input's file.
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
            // libFuzzer writes new inputs to the first directory.
            .arg(directory(workspace, "found")?)
            .arg(workspace.root.join(CORPUS))
            .stderr(output),
    )?;
    let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let output = String::from_utf8_lossy(&output);
    if status.success() {
        step!("{}", summary(&output));
        return Ok(());
    }
    eprintln!("{}", property_message(&output));
    match failing_input(&output) {
        Some(input) => bail!(
            "this input violates a property: {input}\nrun it alone with `cargo xtask fuzz --input {input}`, and copy it \
             to {CORPUS} with the fix"
        ),
        None => bail!("the search exited with {status}, see {}", log.display()),
    }
}

/// The directory of builds, logs and new inputs.
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
        // With an explicit target, the flags do not apply to build scripts and macros, which run without libFuzzer.
        .args(["--target", &host, "--target-dir"])
        .arg(&directory)
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    command::run(&mut cargo)?;
    Ok(directory.join(host).join("release").join(TARGET))
}

/// Replaces the corpus by the seeds and the smallest set of old and new inputs with the same coverage.
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

/// Inputs and coverage from libFuzzer's last lines.
fn summary(log: &str) -> String {
    let word_after = |key: &str| {
        let after = log.rsplit_once(key)?.1;
        after.split_whitespace().next()
    };
    format!(
        "no failure in {} inputs; {} edges covered",
        word_after("stat::number_of_executed_units:").unwrap_or("?"),
        word_after(" cov: ").unwrap_or("?")
    )
}

/// The message of the violated property, without libFuzzer's output.
fn property_message(log: &str) -> &str {
    let start = log.find("panicked at").unwrap_or(0);
    let message = log.get(start..).unwrap_or(log);
    let end = message.find("\n==");
    message
        .get(..end.unwrap_or(message.len()))
        .unwrap_or(message)
        .trim_end()
}

/// The file to which libFuzzer has written the failing input.
fn failing_input(log: &str) -> Option<&str> {
    let line = log.rsplit_once("Test unit written to ")?.1.lines().next()?;
    Some(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_of_the_log_is_read() {
        let log = "#9\tDONE   cov: 345 ft: 900 corp: 5/1Kb\nDone 9 runs\n\
                   stat::number_of_executed_units: 12345\nstat::average_exec_per_sec:     99\n";
        assert_eq!(
            summary(log),
            "no failure in 12345 inputs; 345 edges covered"
        );
        assert_eq!(failing_input(log), None);
    }

    #[test]
    fn failing_input_is_found_in_the_log() {
        let log = "panicked at a.rs:1:\nbytes differ\n==7== ERROR\nartifact_prefix='x/'; Test unit written to x/crash-ab\nBase64: RlVaAA==\n";
        assert_eq!(failing_input(log), Some("x/crash-ab"));
        assert_eq!(property_message(log), "panicked at a.rs:1:\nbytes differ");
    }
}
