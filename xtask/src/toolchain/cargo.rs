//! Programs that `cargo install` compiles.

use std::{env, path::PathBuf, process::Command};

use anyhow::Result;

use crate::command;

/// Compiles and installs a program. `arrange` adds arguments and variables.
pub fn install(package: &str, arrange: impl FnOnce(&mut Command)) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["install", package, "--locked"])
        // Not in the checkout: its configuration is for netpath.
        .current_dir("/")
        .env_remove("CARGO_TARGET_DIR")
        // Optimisation would cost more compile time than it saves, because the tool mostly waits for other programs.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    arrange(&mut cargo);
    command::run(&mut cargo)
}

/// The directory of cargo's registry and of the programs that it installs.
pub fn home() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}
