//! `bpf-linker`: it must read the bitcode of the compiler, so both must have the same LLVM.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{apt, cargo};
use crate::{command, command::step};

/// The version that is installed if none is there.
pub const VERSION: &str = "0.13.0";

/// A `bpf-linker` on this machine.
pub struct Linker {
    /// The program.
    pub path: PathBuf,
    /// The LLVM it is linked to; `None` if it contains LLVM, as released binaries do.
    llvm: Option<u32>,
}

impl Linker {
    /// Whether it reads the bitcode of a compiler with this LLVM.
    pub fn fits(&self, llvm: u32) -> bool {
        self.llvm.is_none_or(|own| own == llvm)
    }
}

/// All on this machine: in `PATH`, in cargo's directory, and those installed by [`install`].
pub fn installed() -> Vec<Linker> {
    let own = fs::read_dir(cache())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([cargo::home().join("bin")])
        .chain(own)
        .map(|directory| directory.join("bpf-linker"))
        .filter(|program| command::is_executable(program))
        .map(|path| Linker {
            llvm: linked_llvm(&path),
            path,
        })
        .collect()
}

/// The Debian packages that compiling it needs.
pub fn packages(llvm: u32) -> Vec<String> {
    let mut packages = vec![format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    packages.extend(["zlib1g-dev", "libzstd-dev", "libxml2-dev", "g++"].map(str::to_owned));
    packages
}

/// Installs one for an LLVM: compiled if that LLVM is available, otherwise the released binary, which contains LLVM.
pub fn install(llvm: u32) -> Result<()> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let config = prefix.join("bin/llvm-config");
    if config.exists() || apt::offers(&format!("llvm-{llvm}-dev"), (llvm, 0))? {
        let packages = packages(llvm);
        apt::install(&packages.iter().map(String::as_str).collect::<Vec<_>>())?;
        return compile(llvm, &prefix);
    }
    download(llvm)
}

/// A linker of the user that has another LLVM is kept; this one is then installed in another directory.
fn destination(llvm: u32) -> PathBuf {
    let taken = cargo::home().join("bin/bpf-linker").exists();
    if taken {
        cache().join(format!("llvm-{llvm}"))
    } else {
        cargo::home()
    }
}

fn compile(llvm: u32, prefix: &Path) -> Result<()> {
    step!("compiling bpf-linker {VERSION} for LLVM {llvm} (about a minute)");
    cargo::install("bpf-linker", |command| {
        command
            .args(["--version", VERSION, "--no-default-features", "--features"])
            .arg(format!("llvm-{llvm}"))
            .arg("--root")
            .arg(destination(llvm))
            // Both are needed: bpf-linker reads the first, the bindings to LLVM the second.
            .env("LLVM_PREFIX", prefix)
            .env(format!("LLVM_SYS_{llvm}1_PREFIX"), prefix);
    })
}

fn download(llvm: u32) -> Result<()> {
    let file = format!(
        "bpf-linker-{}-unknown-linux-musl.tar.zst",
        env::consts::ARCH
    );
    let url = format!("https://github.com/aya-rs/bpf-linker/releases/download/v{VERSION}/{file}");
    let bin = destination(llvm).join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    step!("no LLVM {llvm} to compile bpf-linker with; downloading the released binary {url}");
    let archive = bin.join(&file);
    let fetched = command::run(
        Command::new("curl")
            .args(["-fsSL", "-o"])
            .arg(&archive)
            .arg(&url),
    )
    .and_then(|()| {
        command::run(
            Command::new("tar")
                .arg("-xf")
                .arg(&archive)
                .arg("-C")
                .arg(&bin),
        )
    });
    let _ = fs::remove_file(&archive);
    fetched.with_context(|| {
        format!("install LLVM {llvm} with its development files, or put bpf-linker {VERSION} into a directory of PATH")
    })
}

fn home(relative: &str) -> PathBuf {
    PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(relative)
}

fn cache() -> PathBuf {
    env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| home(".cache"), PathBuf::from)
        .join("netpath/bpf-linker")
}

/// The major LLVM version a program is linked to; `None` if LLVM is part of the program.
fn linked_llvm(program: &Path) -> Option<u32> {
    let content = fs::read(program).ok()?;
    // Distributions name the library libLLVM.so.22.1, libLLVM-22.so or libLLVM-22.so.1.
    let at = content.windows(7).position(|window| window == b"libLLVM")?;
    let name: String = content
        .get(at..)?
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| char::from(*byte))
        .collect();
    name.split(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty())?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::Linker;

    #[test]
    fn linker_fits_its_llvm_and_static_linker_fits_every_llvm() {
        let linker = |llvm| Linker {
            path: "bpf-linker".into(),
            llvm,
        };
        assert!(linker(Some(22)).fits(22));
        assert!(!linker(Some(22)).fits(23));
        assert!(linker(None).fits(23));
    }
}
