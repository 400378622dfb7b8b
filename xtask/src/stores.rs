//! The distributed stores whose servers the tests of level `cluster` start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{self, step},
    programs,
    toolchain::{Install, apt},
    workspace::Workspace,
};

/// What the tests of stores need.
const PROGRAMS: &[programs::Entry] = &[
    ("etcd-server", "etcd"),
    ("etcd-client", "etcdctl"),
    ("openssl", "openssl"),
];
/// The last release of Debian with a package of Consul.
const RELEASE: &str = "bullseye";
/// The keys of Debian's archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The stores that can be used.
pub struct Stores {
    /// The program, if there is one.
    pub consul: Option<PathBuf>,
    /// Names of the stores that cannot be installed. Their tests are in a module of this name.
    pub missing: Vec<&'static str>,
}

/// Installs the stores. One that cannot be installed is reported.
pub fn ensure(workspace: &Workspace, install: Install) -> Result<Stores> {
    programs::ensure(PROGRAMS, install)?;
    let mut missing = Vec::new();
    if command::find("etcd").is_none() {
        step!("tests with etcd: skipped, etcd is not installed");
        missing.push("etcd");
    }
    let consul = match consul(workspace, install) {
        Ok(program) => Some(program),
        Err(error) if install.allowed() => {
            step!("tests with Consul: skipped, it cannot be installed: {error:#}");
            missing.push("consul");
            None
        }
        Err(error) => return Err(error),
    };
    Ok(Stores { consul, missing })
}

/// The program `consul`: an installed one, or that of an older release of Debian, extracted below the target directory.
fn consul(workspace: &Workspace, install: Install) -> Result<PathBuf> {
    let directory = workspace.target.join("consul");
    let extracted = directory.join("root/usr/bin/consul");
    if let Some(program) = command::find("consul") {
        return Ok(program);
    }
    if command::is_executable(&extracted) {
        return Ok(extracted);
    }
    if !install.allowed() {
        bail!("missing program; install consul");
    }
    if !apt::present() || !Path::new(KEYRING).exists() {
        bail!("this is not Debian, and there is no program consul");
    }
    step!("downloading Consul from Debian {RELEASE}");
    extract(&directory)?;
    if !command::is_executable(&extracted) {
        bail!("the package has no {}", extracted.display());
    }
    Ok(extracted)
}

/// Downloads and extracts the package, with package lists of their own, so that those of the machine stay unchanged.
fn extract(directory: &Path) -> Result<()> {
    let lists = directory.join("lists");
    let cache = directory.join("cache");
    for path in [lists.join("partial"), cache.join("archives/partial")] {
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let sources = directory.join("sources.list");
    let line = format!("deb [signed-by={KEYRING}] {} {RELEASE} main\n", mirror()?);
    fs::write(&sources, line).with_context(|| format!("cannot write {}", sources.display()))?;
    let option = |name: &str, path: &Path| format!("-o{name}={}", path.display());
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.current_dir(directory).arg("-q").args([
            option("Dir::Etc::sourcelist", &sources),
            option("Dir::Etc::sourceparts", &directory.join("none")),
            option("Dir::State::lists", &lists),
            option("Dir::Cache", &cache),
            // A user cannot change to the user of apt.
            "-oAPT::Sandbox::User=".to_owned(),
        ]);
        apt
    };
    command::run(apt().arg("update"))?;
    command::run(apt().args(["download", "consul"]))?;
    let package = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package.context("apt-get has downloaded no package")?;
    command::run(
        Command::new("dpkg")
            .arg("-x")
            .arg(&package)
            .arg(directory.join("root")),
    )
}

/// The mirror of Debian that this machine uses.
fn mirror() -> Result<String> {
    let format = "$(ORIGIN) $(CODENAME) $(REPO_URI)";
    let text = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    debian_mirror(&text).context("this machine uses no mirror of Debian")
}

fn debian_mirror(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("Debian"), Some(codename), Some(uri)) if !codename.contains('-') => {
                Some(uri.to_owned())
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::debian_mirror;

    #[test]
    fn mirror_of_the_release_is_found() {
        let targets = "Other nodistro https://other.invalid/\n\
                       Debian bookworm-security http://mirror.invalid/debian-security/\n\
                       Debian bookworm http://mirror.invalid/debian/\n";
        let mirror = debian_mirror(targets);
        assert_eq!(mirror.as_deref(), Some("http://mirror.invalid/debian/"));
        assert_eq!(
            debian_mirror("Ubuntu noble http://mirror.invalid/ubuntu/\n"),
            None
        );
    }
}
