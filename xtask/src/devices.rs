//! Types of network devices that tests use and the kernel of this machine may lack.

use std::ffi::OsStr;

use anyhow::{Context, Result};

use crate::command;

/// Types of devices; the names of their tests begin with [`TESTS`] and the type.
const KINDS: [&str; 3] = ["vlan", "vrf", "wireguard"];
/// The module of the tests of device types, in the level e2e.
pub const TESTS: &str = "class1_devices::";

/// The types that the kernel has neither built in nor as a module.
pub fn missing() -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for kind in KINDS {
        let add = ["--net", "ip", "link", "add", "name", "probe", "type", kind];
        let output = command::as_root("unshare")?
            .args(add.map(OsStr::new))
            .output()
            .context("cannot run unshare")?;
        if String::from_utf8_lossy(&output.stderr).contains("Unknown device type") {
            missing.push(kind);
        }
    }
    Ok(missing)
}
