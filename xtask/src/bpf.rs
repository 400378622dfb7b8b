//! Building `netpath-ebpf` for the BPF target, and checks on the object that need no kernel.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use crate::{command, command::step, toolchain::Toolchain, workspace::Workspace};

/// Names in symbols that only a reachable panic leaves behind; the verifier refuses such a program with a message
/// that does not say so.
const PANICS: [&str; 4] = [
    "panicking",
    "unwrap_failed",
    "expect_failed",
    "panic_bounds_check",
];

/// The workspace's profile is for user space. The BPF object has no unwinding, and one unit gives stable code.
const PROFILE: [&str; 6] = [
    "profile.release.panic='abort'",
    "profile.release.opt-level=3",
    "profile.release.codegen-units=1",
    "profile.release.lto=false",
    "profile.release.debug=2",
    "profile.release.overflow-checks=false",
];

/// Builds the object at [`Workspace::bpf_object`]; the file is touched only if its content changes.
pub fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let target_dir = workspace.target.join("bpf");
    let triple = if cfg!(target_endian = "little") {
        "bpfel-unknown-none"
    } else {
        "bpfeb-unknown-none"
    };
    step!("building the BPF object ({})", toolchain.describe());

    let mut cargo = Command::new(&toolchain.cargo);
    clean_environment(&mut cargo);
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--locked", "--release", "-Zbuild-std=core"])
        .args([
            "--package=netpath-ebpf",
            "--bin=netpath-ebpf",
            "--target",
            triple,
            "--target-dir",
        ])
        .arg(&target_dir)
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace, toolchain));
    command::run(&mut cargo)?;

    let built = target_dir.join(triple).join("release/netpath-ebpf");
    let content = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    check(&content)?;
    let object = workspace.bpf_object();
    if fs::read(&object).ok().as_deref() != Some(content.as_slice()) {
        fs::write(&object, content)
            .with_context(|| format!("cannot write {}", object.display()))?;
    }
    Ok(())
}

/// The flags of every BPF crate. They replace those of any configuration file.
fn rustflags(workspace: &Workspace, toolchain: &Toolchain) -> String {
    let mut linker = std::ffi::OsString::from("-Clinker=");
    linker.push(&toolchain.linker);
    [
        // The default CPU has no fetching atomics.
        "-Ctarget-cpu=v3".to_owned(),
        linker.to_string_lossy().into_owned(),
        // BTF is made from debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        // The object is the same wherever it is built.
        format!("--remap-path-prefix={}=.", workspace.root.display()),
    ]
    .join("\x1f")
}

/// The other cargo must not see what the cargo that runs us, or rustup, has set for this program.
fn clean_environment(command: &mut Command) {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let cargo = text == "CARGO"
            || text.starts_with("CARGO_") && !KEPT.iter().any(|kept| text.starts_with(kept));
        let rust = text.starts_with("RUSTC")
            || text.starts_with("RUSTFLAGS")
            || text.starts_with("RUSTDOC");
        if cargo || rust || ["RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"].contains(&text) {
            command.env_remove(&name);
        }
    }
}

/// Refuses an object with a reachable panic, and prints the size of each program.
fn check(content: &[u8]) -> Result<()> {
    let object = object::File::parse(content).context("the BPF object is not an ELF file")?;
    let panics: Vec<_> = object
        .symbols()
        .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
        .filter(|name| PANICS.iter().any(|panic| name.contains(panic)))
        .collect();
    if !panics.is_empty() {
        bail!(
            "a panic is reachable in the BPF object, no kernel would load it: {}",
            panics.join(", ")
        );
    }
    for (program, instructions) in instructions(&object) {
        step!("  {instructions:>6} instructions  {program}");
    }
    step!("  {:>6} KiB object", content.len() / 1024);
    Ok(())
}

/// Instructions by program, with its section; functions that are called rather than attached count as one entry.
fn instructions(object: &object::File<'_>) -> BTreeMap<String, u64> {
    let mut count = BTreeMap::new();
    for symbol in object
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text)
    {
        let section = symbol
            .section_index()
            .and_then(|index| object.section_by_index(index).ok());
        let Some(section) = section.filter(|section| section.kind() == SectionKind::Text) else {
            continue;
        };
        let name = match (
            section.name().unwrap_or_default(),
            symbol.name().unwrap_or_default(),
        ) {
            (".text", _) => "(called functions)".to_owned(),
            (section, symbol) => format!("{symbol} ({section})"),
        };
        // An instruction has 8 bytes; the few wide ones count twice, as they do in the kernel.
        *count.entry(name).or_default() += symbol.size() / 8;
    }
    count
}

/// The major LLVM version a program is linked to; `None` if LLVM is part of the program.
pub fn linked_llvm(program: &Path) -> Option<u32> {
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
