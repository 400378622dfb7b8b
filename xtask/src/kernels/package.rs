//! Debian's kernel packages: selection by version, and files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{command, command::step, toolchain::apt};

/// Selects the newest kernel of Debian's development branch.
pub const NEWEST: &str = "newest";

/// An unpacked kernel package.
pub struct Kernel {
    /// The release as `uname -r` prints it.
    pub release: String,
    /// The directory the package is unpacked in.
    root: PathBuf,
}

impl Kernel {
    /// The boot image: below `/boot`; in the directory of the modules since Debian 14.
    pub fn image(&self) -> PathBuf {
        let boot = self
            .root
            .join("boot")
            .join(format!("vmlinuz-{}", self.release));
        if boot.is_file() {
            boot
        } else {
            self.modules().join("vmlinuz")
        }
    }

    /// The directory of its modules, in the layout below `/lib/modules`.
    pub fn modules(&self) -> PathBuf {
        let split = self.root.join("usr/lib/modules").join(&self.release);
        if split.is_dir() {
            split
        } else {
            self.root.join("lib/modules").join(&self.release)
        }
    }
}

/// Downloads and unpacks the kernel of a version below `directory`, once. `None` if no archive of this machine has it.
pub fn fetch(version: &str, directory: &Path) -> Result<Option<Kernel>> {
    if let Some(release) = unpacked(version, directory)? {
        return kernel(version, directory, release).map(Some);
    }
    let archive = if version == NEWEST {
        Archive::development(directory)?
    } else {
        Archive::of_machine()
    };
    let Some(release) = archive.newest(version)? else {
        return Ok(None);
    };
    step!("downloading {PREFIX}{release}");
    let root = directory.join(version).join(&release);
    archive.unpack(&archive.packages(&release)?, &root)?;
    kernel(version, directory, release).map(Some)
}

const PREFIX: &str = "linux-image-";
/// Small kernels for virtual machines, with every module that the tests need.
const FLAVOUR: &str = "-cloud-amd64";

/// The release that an earlier call has unpacked completely.
fn unpacked(version: &str, directory: &Path) -> Result<Option<String>> {
    let directory = directory.join(version);
    let Ok(entries) = fs::read_dir(&directory) else {
        return Ok(None);
    };
    let mut releases = Vec::new();
    for entry in entries {
        let entry = entry.context("cannot read the kernel directory")?;
        releases.push(entry.file_name().to_string_lossy().into_owned());
    }
    releases.retain(|release| !release.ends_with(PARTIAL));
    Ok(newest(releases))
}

fn kernel(version: &str, directory: &Path, release: String) -> Result<Kernel> {
    let kernel = Kernel {
        root: directory.join(version).join(&release),
        release,
    };
    if !kernel.image().is_file() {
        bail!("the package of Linux {} has no boot image", kernel.release);
    }
    Ok(kernel)
}

/// Marks a directory that is being unpacked.
const PARTIAL: &str = ".partial";

/// A package archive, as options of apt.
struct Archive {
    options: Vec<String>,
}

impl Archive {
    /// The archives that this machine is configured for.
    fn of_machine() -> Self {
        Self {
            options: Vec::new(),
        }
    }

    /// Debian's development branch on the same mirror, with separate lists and cache. The machine's configuration
    /// does not change.
    fn development(directory: &Path) -> Result<Self> {
        let directory = directory.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(part))
                .context("cannot create the apt directories")?;
        }
        let list = directory.join("sources.list");
        fs::write(&list, format!("deb {} sid main\n", mirror()?))
            .context("cannot write the package source")?;
        let set = |key: &str, value: &Path| format!("{key}={}", value.display());
        let archive = Self {
            options: vec![
                set("Dir::Etc::sourcelist", &list),
                "Dir::Etc::sourceparts=-".to_owned(),
                set("Dir::State::lists", &directory.join("lists")),
                set("Dir::Cache", &directory.join("cache")),
            ],
        };
        step!("apt-get update (Debian's development branch, separate lists)");
        command::run(archive.apt("apt-get").args(["update", "-qq"]))?;
        Ok(archive)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(self.options.iter().flat_map(|option| ["-o", option]));
        command
    }

    /// The newest release of a version that the archive has.
    fn newest(&self, version: &str) -> Result<Option<String>> {
        let wanted = match version {
            NEWEST => String::new(),
            version => format!("{version}."),
        };
        let names = command::output(self.apt("apt-cache").args(["pkgnames", PREFIX]))?;
        let releases = names.lines().filter_map(|name| {
            let release = name.strip_prefix(PREFIX)?;
            let numbered = release.starts_with(|first: char| first.is_ascii_digit());
            (numbered && release.starts_with(&wanted) && release.ends_with(FLAVOUR))
                .then(|| release.to_owned())
        });
        Ok(newest(releases.collect()))
    }

    /// The packages of a release. Since Debian 14 the boot image and the modules are separate packages.
    fn packages(&self, release: &str) -> Result<Vec<String>> {
        let names = command::output(self.apt("apt-cache").args(["pkgnames", "linux-"]))?;
        let parts =
            [PREFIX, "linux-binary-", "linux-modules-"].map(|part| format!("{part}{release}"));
        let known = |package: &String| names.lines().any(|name| name == package.as_str());
        Ok(parts.into_iter().filter(known).collect())
    }

    fn unpack(&self, packages: &[String], root: &Path) -> Result<()> {
        let mut partial = root.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        if partial.exists() {
            fs::remove_dir_all(&partial).context("cannot remove an incomplete kernel")?;
        }
        let downloads = partial.join("downloads");
        fs::create_dir_all(&downloads).context("cannot create the kernel directory")?;
        let mut download = self.apt("apt-get");
        command::output(
            download
                .args(["download", "-qq"])
                .args(packages)
                .current_dir(&downloads),
        )?;
        for package in fs::read_dir(&downloads).context("cannot read the downloads")? {
            let package = package.context("cannot read the downloads")?.path();
            command::run(
                Command::new("dpkg-deb")
                    .arg("-x")
                    .args([&package, &partial]),
            )?;
        }
        fs::remove_dir_all(&downloads).context("cannot remove the downloads")?;
        fs::rename(&partial, root).context("cannot rename the kernel directory")
    }
}

/// The keys of Debian's archives, from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The machine's Debian mirror as a package source without suite and component.
fn mirror() -> Result<String> {
    if !apt::present() {
        bail!("this machine has no apt");
    }
    let format = "$(REPO_URI)|$(ORIGIN)|$(COMPONENT)";
    let query = ["indextargets", "--format", format, "Created-By: Packages"];
    let targets = command::output(Command::new("apt-get").args(query))?;
    let uri = targets
        .lines()
        .find_map(|line| line.strip_suffix("|Debian|main"));
    let uri = uri.context("apt is configured for no Debian mirror")?;
    Ok(format!("[signed-by={KEYRING}] {uri}"))
}

/// The newest of some releases, comparing numbers as numbers.
fn newest(releases: Vec<String>) -> Option<String> {
    releases.into_iter().max_by_key(|release| {
        release
            .split(|byte: char| !byte.is_ascii_digit())
            .filter_map(|part| part.parse::<u64>().ok())
            .collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn newest_release_compares_numbers() {
        let releases = [
            "6.1.0-9-cloud-amd64",
            "6.1.0-56-cloud-amd64",
            "6.1.0-47-cloud-amd64",
        ];
        let releases = releases.map(str::to_owned).to_vec();
        assert_eq!(newest(releases).as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(newest(Vec::new()), None);
    }
}
