//! `cargo xtask dist`: the files of a package in a directory.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{build, command, command::step, tidy::tree, toolchain::Install, workspace::Workspace};

/// Paths of shell completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/netpath"),
    ("zsh", "usr/share/zsh/site-functions/_netpath"),
    ("fish", "usr/share/fish/vendor_completions.d/netpath.fish"),
];

/// Builds a release and copies its files to DIR: binary, unit, sample configuration, manual pages, completions.
///
/// Example: cargo xtask dist /tmp/netpath && sudo cp -rT /tmp/netpath /
#[derive(clap::Args)]
pub struct Args {
    /// The root of the installation; created if it does not exist.
    directory: PathBuf,
    /// Install nothing on this machine; report what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let binary = build::build(&workspace, true, Install::unless(args.no_install))?;
    let root = &args.directory;
    place(&binary, &root.join("usr/bin/netpath"), 0o755)?;
    place(
        &source(&workspace, "netpath.service")?,
        &root.join("usr/lib/systemd/system/netpath.service"),
        0o644,
    )?;
    place(
        &source(&workspace, "netpath.toml")?,
        &root.join("etc/netpath/netpath.toml"),
        0o644,
    )?;

    let manual = root.join("usr/share/man/man1");
    create(&manual)?;
    command::run(Command::new(&binary).arg("man").arg(&manual))?;
    for (shell, file) in COMPLETIONS {
        let script = command::output(Command::new(&binary).args(["completions", shell]))?;
        let file = root.join(file);
        create(file.parent().unwrap_or(root))?;
        fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
    }
    step!("files copied to {}", root.display());
    Ok(ExitCode::SUCCESS)
}

/// The file with this name below `netpath/`.
fn source(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let files = tree::files(&workspace.root.join("netpath"))?;
    files
        .into_iter()
        .find(|file| file.file_name().is_some_and(|found| found == name))
        .with_context(|| format!("there is no {name} below netpath/"))
}

fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    create(to.parent().unwrap_or(to))?;
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", to.display()))
}

fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}
