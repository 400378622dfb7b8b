//! What building the BPF object needs: a compiler with the sources of `core`, and a `bpf-linker` of the same LLVM.
//!
//! The check takes milliseconds. Only missing parts are installed, and each step is announced before it runs.

pub mod apt;
pub mod cargo;
mod compiler;
mod linker;

use std::path::PathBuf;

use anyhow::{Result, bail};

use compiler::Compiler;

/// Whether missing parts may be installed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Install {
    /// Install what is missing.
    Missing,
    /// Report missing parts as an error.
    Nothing,
}

impl Install {
    /// From the flag `--no-install`.
    pub fn unless(no_install: bool) -> Self {
        if no_install {
            Self::Nothing
        } else {
            Self::Missing
        }
    }

    /// Whether installing is allowed.
    pub fn allowed(self) -> bool {
        self == Self::Missing
    }
}

/// A compiler and a linker that fit together.
pub struct Toolchain {
    /// The cargo of the compiler.
    pub cargo: PathBuf,
    /// The compiler.
    pub rustc: PathBuf,
    /// `bpf-linker`.
    pub linker: PathBuf,
    version: String,
    llvm: u32,
}

impl Toolchain {
    /// One phrase for messages.
    pub fn describe(&self) -> String {
        format!(
            "{} {}, LLVM {}",
            self.rustc.display(),
            self.version,
            self.llvm
        )
    }

    fn new(compiler: Compiler, linker: PathBuf) -> Self {
        let Compiler {
            cargo,
            rustc,
            version,
            llvm,
        } = compiler;
        Self {
            cargo,
            rustc,
            linker,
            version: format!("{}.{}", version.0, version.1),
            llvm,
        }
    }
}

/// Finds a pair that fits, or installs what is missing.
pub fn ensure(install: Install) -> Result<Toolchain> {
    let linkers = linker::installed();
    let mut compilers = compiler::installed();
    for compiler in &compilers {
        if let Some(linker) = linkers.iter().find(|linker| linker.fits(compiler.llvm)) {
            return Ok(Toolchain::new(compiler.clone(), linker.path.clone()));
        }
    }
    if !install.allowed() {
        bail!("{}", missing(compilers.first()));
    }
    if compilers.is_empty() {
        compiler::install()?;
        compilers = compiler::installed();
    }
    let Some(compiler) = compilers.into_iter().next() else {
        bail!(
            "the compiler was installed but is not found; {}",
            missing(None)
        );
    };
    // The existing linker may fit the new compiler.
    if let Some(linker) = linkers
        .into_iter()
        .find(|linker| linker.fits(compiler.llvm))
    {
        return Ok(Toolchain::new(compiler, linker.path));
    }
    linker::install(compiler.llvm)?;
    match linker::installed()
        .into_iter()
        .find(|linker| linker.fits(compiler.llvm))
    {
        Some(linker) => Ok(Toolchain::new(compiler, linker.path)),
        None => bail!(
            "bpf-linker was installed but is not found; {}",
            missing(Some(&compiler))
        ),
    }
}

/// What to install by hand.
fn missing(compiler: Option<&Compiler>) -> String {
    match compiler {
        None => format!(
            "no Rust compiler of at least {}.{} with its library sources: install the Debian packages {}, or run \
             `rustup component add rust-src`",
            compiler::OLDEST.0,
            compiler::OLDEST.1,
            compiler::PACKAGES.join(" ")
        ),
        Some(compiler) => format!(
            "no bpf-linker for LLVM {0}: install {1}, then run `LLVM_PREFIX=/usr/lib/llvm-{0} cargo install bpf-linker \
             --version {2} --no-default-features --features llvm-{0}`",
            compiler.llvm,
            linker::packages(compiler.llvm).join(" "),
            linker::VERSION
        ),
    }
}
