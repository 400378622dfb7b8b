//! Mounts: a bpffs for pins, cgroup v2 for the socket programs.

use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::Finding;
use crate::kernel::mounts;

/// Checks what is mounted.
pub(super) fn check() -> Vec<Finding> {
    vec![bpffs(), cgroup()]
}

fn bpffs() -> Finding {
    let path = Path::new("/sys/fs/bpf");
    match mounts::is_bpffs(path) {
        Ok(true) => Finding::ok("bpffs", path.display().to_string()),
        _ => Finding::fail(
            "bpffs",
            format!("{} is not a bpffs", path.display()),
            "mount -t bpf bpf /sys/fs/bpf",
        ),
    }
}

fn cgroup() -> Finding {
    let Ok(Some(path)) = mounts::cgroup2() else {
        return Finding::fail(
            "cgroup",
            "cgroup v2 is not mounted; the daemon does not start without it",
            "mount -t cgroup2 none /sys/fs/cgroup",
        );
    };
    let works = statfs(&path).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let path = path.display();
    if works {
        Finding::ok("cgroup", format!("cgroup v2 at {path}"))
    } else {
        Finding::warn(
            "cgroup",
            format!("another file system is mounted over {path}"),
            "set the cgroup v2 mount with --cgroup",
        )
    }
}
