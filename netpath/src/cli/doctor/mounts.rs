//! Mounts: a bpffs for pins, cgroup v2 for the socket programs.

use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use super::Finding;

/// Checks what is mounted.
pub(super) fn check() -> Vec<Finding> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    vec![bpffs(), cgroup(&mounts)]
}

fn bpffs() -> Finding {
    let path = Path::new("/sys/fs/bpf");
    match statfs(path) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => {
            Finding::ok("bpffs", path.display().to_string())
        }
        _ => Finding::fail(
            "bpffs",
            format!("{} is not a bpffs", path.display()),
            "mount -t bpf bpf /sys/fs/bpf",
        ),
    }
}

fn cgroup(mounts: &str) -> Finding {
    match cgroup2(mounts) {
        Some("/sys/fs/cgroup") => {
            let works = statfs("/sys/fs/cgroup")
                .is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC);
            if works {
                Finding::ok("cgroup", "/sys/fs/cgroup")
            } else {
                Finding::warn(
                    "cgroup",
                    "something else is mounted over /sys/fs/cgroup",
                    "name the cgroup v2 mount with --cgroup",
                )
            }
        }
        Some(path) => Finding::ok("cgroup", format!("cgroup v2 at {path}")),
        None => Finding::fail(
            "cgroup",
            "cgroup v2 is not mounted; local clients cannot reach published ports on 127.0.0.1",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

/// The first mount point of cgroup v2.
fn cgroup2(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_v2_is_found_among_mounts() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n";
        assert_eq!(cgroup2(hybrid), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }
}
