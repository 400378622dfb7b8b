//! Running other programs.

use std::{
    env,
    ffi::OsStr,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus},
};

use anyhow::{Context, Result, bail};

/// Names a step on stderr before it runs.
macro_rules! step {
    ($($part:tt)*) => { eprintln!("xtask: {}", format_args!($($part)*)) };
}
pub(crate) use step;

/// Runs a command with the terminal as its output; a status other than 0 is an error that names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a command with the terminal as its output and returns its status.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("cannot run `{}`", shown(command)))
}

/// Runs a command and returns what it printed; a status other than 0 is an error with its stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            said.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The target triple that the compiler builds for if none is named.
pub fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc reports no host")?.to_owned())
}

/// The exit code of this process for the status of a child: the same number, or 128 + the signal as shells do.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(number).unwrap_or(1))
}

/// The command line as it is typed in a shell.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Looks a program up in `PATH` and in the directories of system programs, which users often lack in `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| is_executable(file))
}

/// Whether the file exists and it has an execute permission.
pub fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether this process is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The program as root: itself, or through sudo with the environment kept.
pub fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let sudo = find("sudo").with_context(|| {
        format!(
            "{} needs root and there is no sudo: run this as root",
            program.as_ref().to_string_lossy()
        )
    })?;
    let mut command = Command::new(sudo);
    command.arg("-E").arg("--").arg(program);
    Ok(command)
}
