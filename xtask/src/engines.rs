//! Container engines for the tests. Each is installed in an overlay of this machine's root file system, below the target
//! directory; the machine itself is not changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{self, step},
    toolchain::{Install, apt},
    workspace::Workspace,
};

/// Environment variable of the tests: the upper directory of the overlay with Docker Engine.
pub const VARIABLE: &str = "NETPATH_ENGINE_DOCKER";

/// Packages of Docker Engine, and of the programs in its containers.
const DOCKER: &str = "docker.io busybox-static";

/// Installs the packages in the overlay `$1` with the packages `$2`. `policy-rc.d` keeps apt from starting services.
const SCRIPT: &str = r#"
set -e
mkdir -p "$1/upper" "$1/work" "$1/root"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount --rbind /dev dev
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs run
printf '#!/bin/sh\nexit 101\n' > usr/sbin/policy-rc.d
chmod +x usr/sbin/policy-rc.d
chroot . env DEBIAN_FRONTEND=noninteractive apt-get update -q
chroot . env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $2
"#;

/// Installs Docker Engine unless it is installed already. Returns the upper directory of its overlay.
pub fn docker(workspace: &Workspace, install: Install) -> Result<PathBuf> {
    let directory = workspace.target.join("engines/docker");
    let upper = directory.join("upper");
    let complete = directory.join("complete");
    if complete.exists() {
        return Ok(upper);
    }
    if !install.allowed() {
        bail!("it is not installed in {}", directory.display());
    }
    if !apt::present() {
        bail!("it is installed from Debian's packages, and this machine has no apt-get");
    }
    step!(
        "installing {DOCKER} in an overlay below {}",
        directory.display()
    );
    prepare(&directory)?;
    if !upper.join("usr/sbin/dockerd").exists() {
        bail!("the packages {DOCKER} contain no dockerd");
    }
    fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))?;
    Ok(upper)
}

fn prepare(directory: &Path) -> Result<()> {
    let mut unshare = command::as_root("unshare")?;
    unshare.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
    unshare.arg(directory).arg(DOCKER);
    command::run(&mut unshare).context("cannot install the packages")
}
