//! Compilers that can build `core` for the BPF target: those whose library sources are installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::apt;
use crate::{command, command::step};

/// The oldest compiler the workspace accepts (`rust-version`).
pub const OLDEST: (u32, u32) = (1, 95);
/// The packages of Debian's newest compiler, which can be installed in addition to rustup.
pub const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler that has the sources of its library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Its cargo.
    pub cargo: PathBuf,
    /// Its rustc.
    pub rustc: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
    /// Major version of its LLVM.
    pub llvm: u32,
}

/// All usable compilers: the system's first, then those of rustup, stable before nightly.
pub fn installed() -> Vec<Compiler> {
    let system = ["/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let mut rustup: Vec<_> = fs::read_dir(rustup_home().join("toolchains"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|toolchain| has_sources(toolchain))
        .collect();
    rustup.sort_by_key(|path| (path.to_string_lossy().contains("nightly"), path.clone()));
    let rustup = rustup.into_iter().map(|toolchain| toolchain.join("bin"));
    system
        .into_iter()
        .chain(rustup)
        .filter_map(|directory| usable(&directory))
        .collect()
}

/// The compiler in a directory of programs, if it is new enough and has its sources.
fn usable(directory: &Path) -> Option<Compiler> {
    let (rustc, cargo) = (directory.join("rustc"), directory.join("cargo"));
    if !command::is_executable(&rustc) || !command::is_executable(&cargo) {
        return None;
    }
    let ask = |argument: &[&str]| {
        let mut command = Command::new(&rustc);
        command
            .args(argument)
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("RUSTUP_TOOLCHAIN");
        command::output(&mut command).ok()
    };
    let (version, llvm) = parse_version(&ask(&["-vV"])?)?;
    let sysroot = PathBuf::from(ask(&["--print=sysroot"])?.trim());
    (version >= OLDEST && has_sources(&sysroot)).then_some(Compiler {
        cargo,
        rustc,
        version,
        llvm,
    })
}

/// Version and LLVM major out of `rustc -vV`.
fn parse_version(text: &str) -> Option<((u32, u32), u32)> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim)
    };
    let mut release = value("release:")?.split('.').map(|part| part.parse().ok());
    let version = (release.next()??, release.next()??);
    let llvm = value("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some((version, llvm))
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .exists()
}

fn rustup_home() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".rustup");
    env::var_os("RUSTUP_HOME").map_or_else(home, PathBuf::from)
}

/// Installs one: from Debian where it is new enough, else the sources for the toolchain in use, else rustup's nightly.
pub fn install() -> Result<()> {
    if apt::offers(PACKAGES[0], OLDEST)? {
        step!("installing a Rust compiler with library sources for the BPF target");
        return apt::install(&PACKAGES);
    }
    let rustup = command::find("rustup").context(
        "building the BPF object needs a Rust compiler with its library sources: install rustup, then run this again",
    )?;
    step!(
        "installing the library sources of the Rust toolchain in use (rustup component add rust-src)"
    );
    if command::status(Command::new(&rustup).args(["component", "add", "rust-src"]))?.success()
        && !installed().is_empty()
    {
        return Ok(());
    }
    step!("installing a nightly Rust toolchain with library sources");
    command::run(Command::new(&rustup).args([
        "toolchain",
        "install",
        "nightly",
        "--profile=minimal",
        "--component=rust-src",
    ]))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn version_and_llvm_are_read_from_stable_and_nightly() {
        let stable =
            "rustc 1.96.0 (ac68 2026-05-25)\nhost: x\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_version(stable), Some(((1, 96), 22)));
        let nightly = "release: 1.99.0-nightly\nLLVM version: 23.1.0\n";
        assert_eq!(parse_version(nightly), Some(((1, 99), 23)));
        assert_eq!(parse_version("rustc 1.63.0"), None);
    }
}
