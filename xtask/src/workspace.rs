//! Paths in the checkout, and the cargo that started this program.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// The checkout, as `cargo metadata` describes it.
pub struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    packages: Vec<Value>,
}

impl Workspace {
    /// Reads the metadata from cargo.
    pub fn load() -> Result<Self> {
        let text = command::output(cargo_in(&root()).args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version=1",
        ]))?;
        let metadata: Value =
            serde_json::from_str(&text).context("cargo metadata printed no JSON")?;
        let path = |key: &str| -> Result<PathBuf> {
            metadata[key]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("cargo metadata has no {key}"))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            packages: metadata["packages"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// A cargo command in the checkout that knows the BPF object, so that every build contains it and none is repeated.
    pub fn cargo(&self) -> Command {
        let mut cargo = cargo_in(&self.root);
        let object = self.bpf_object();
        if object.exists() {
            cargo.env("NETPATH_BPF_OBJECT", object);
        }
        cargo
    }

    /// The path to which `bpf::build` writes the object.
    pub fn bpf_object(&self) -> PathBuf {
        self.target.join("bpf/netpath.bpf.o")
    }

    /// The `netpath` binary of a profile.
    pub fn netpath(&self, release: bool) -> PathBuf {
        self.target
            .join(if release { "release" } else { "debug" })
            .join("netpath")
    }

    /// Whether the package has a target of this kind (`test`, `bin`) and name.
    pub fn has_target(&self, package: &str, kind: &str, name: &str) -> bool {
        let targets = self.packages.iter().filter(|each| each["name"] == package);
        targets
            .filter_map(|each| each["targets"].as_array())
            .flatten()
            .any(|target| {
                target["name"] == name
                    && target["kind"]
                        .as_array()
                        .is_some_and(|kinds| kinds.contains(&kind.into()))
            })
    }
}

/// The root of the checkout: the parent of this package.
pub fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map(Path::to_owned).unwrap_or(manifest)
}

/// The cargo that runs this program, started in a directory.
fn cargo_in(directory: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(directory);
    cargo
}
