//! Debian's and Ubuntu's packages.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, command::step};

/// Whether this distribution installs packages with apt.
pub fn present() -> bool {
    command::find("apt-get").is_some() && command::find("dpkg-query").is_some()
}

/// Whether apt can install the package in at least this version. Refreshes the package lists, so call it only if
/// something is missing.
pub fn offers(package: &str, (major, minor): (u32, u32)) -> Result<bool> {
    if !present() {
        return Ok(false);
    }
    refresh()?;
    let policy = command::output(Command::new("apt-cache").args(["policy", package]))?;
    Ok(candidate(&policy).is_some_and(|version| version >= (major, minor)))
}

/// Installs the missing ones of the packages.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .filter(|package| !installed(package))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    step!("apt-get install {}", missing.join(" "));
    let mut apt = apt_get()?;
    command::run(
        apt.args(["install", "--yes", "--no-install-recommends", "-q"])
            .args(&missing),
    )
    .with_context(|| format!("cannot install {}", missing.join(" ")))
}

/// Refreshes the package lists.
pub fn refresh() -> Result<()> {
    step!("apt-get update");
    command::run(apt_get()?.args(["update", "-q"]))
}

fn apt_get() -> Result<Command> {
    let mut command = command::as_root("env")?;
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    Ok(command)
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

/// Major and minor version of the candidate in the output of `apt-cache policy`.
fn candidate(policy: &str) -> Option<(u32, u32)> {
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    // An epoch ("1:22.1.8") is not part of the upstream version.
    let version = line.trim().rsplit(':').next()?;
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::candidate;

    #[test]
    fn candidate_version_is_read_with_and_without_epoch() {
        assert_eq!(
            candidate("x:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1\n"),
            Some((1, 96))
        );
        assert_eq!(
            candidate("  Candidate: 1:22.1.8-1~deb12u1\n"),
            Some((22, 1))
        );
        assert_eq!(candidate("  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
    }
}
