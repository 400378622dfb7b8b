//! Memory that is available to the daemon. Maps are charged to its cgroup.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Mount points of the cgroup v2 hierarchy.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Memory of the machine or the lowest limit of the process's cgroups, whichever is lower, in bytes; 0 if unknown.
pub(super) fn available() -> u64 {
    let machine = nix::sys::sysinfo::sysinfo().map_or(0, |info| info.ram_total());
    let limit = MOUNTS
        .iter()
        .filter_map(|mount| limit(Path::new(mount), &own_cgroup()?))
        .min();
    limit.map_or(machine, |limit| limit.min(machine))
}

/// Path of the process's cgroup, relative to the mount point.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(path.into())
}

/// The lowest memory limit of a cgroup and its ancestors, in bytes; `None` if there is none.
fn limit(mount: &Path, cgroup: &Path) -> Option<u64> {
    let directories = cgroup.ancestors().map(|path| mount.join(path));
    directories
        .filter_map(|directory| {
            let text = fs::read_to_string(directory.join("memory.max")).ok()?;
            text.trim().parse().ok()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class6_lowest_memory_limit_of_the_ancestors_is_used() {
        let directory = tempfile::TempDir::new().unwrap();
        let inner = directory.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let cgroup = Path::new("a/b");
        assert_eq!(limit(directory.path(), cgroup), None);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit(directory.path(), cgroup), None);
        fs::write(directory.path().join("a/memory.max"), "268435456\n").unwrap();
        assert_eq!(limit(directory.path(), cgroup), Some(1 << 28));
        fs::write(inner.join("memory.max"), "536870912\n").unwrap();
        assert_eq!(limit(directory.path(), cgroup), Some(1 << 28));
        assert_eq!(limit(directory.path(), Path::new("")), None);
    }
}
