//! Building `netpath-ebpf` for the BPF target, and checks on the object that need no kernel.

mod object;

use std::{env, fs, process::Command};

use anyhow::{Context, Result};

use crate::{
    command,
    command::step,
    toolchain::{Toolchain, cargo},
    workspace::Workspace,
};

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
pub fn build(workspace: &Workspace, toolchain: &Toolchain, trace: bool) -> Result<()> {
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
        .args(trace.then_some("--features=trace"))
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace, toolchain));
    command::run(&mut cargo)?;

    let built = target_dir.join(triple).join("release/netpath-ebpf");
    let content = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    object::refuse_panics(&content)?;
    let content = object::strip(&content)?;
    for (program, instructions) in object::instructions(&content)? {
        step!("{instructions:>8} instructions  {program}");
    }
    step!("{:>8} KiB", content.len() / 1024);
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
        // The default BPF CPU version has no atomic operations that return the old value.
        "-Ctarget-cpu=v3".to_owned(),
        "-Ctarget-feature=+allows-misaligned-mem-access".to_owned(),
        linker.to_string_lossy().into_owned(),
        // BTF is generated from debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        // BTF names source files: the object is the same wherever it is built.
        format!("--remap-path-prefix={}=.", workspace.root.display()),
        format!("--remap-path-prefix={}=cargo", cargo::home().display()),
    ]
    .join("\x1f")
}

/// Removes the variables that rustup and the calling cargo have set for this program.
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
