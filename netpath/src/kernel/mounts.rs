//! Mounts that netpath depends on.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::Error;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Root of the cgroup v2 hierarchy: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` if v1 is mounted too; `None`
/// if it is not mounted.
pub fn cgroup2() -> Result<Option<PathBuf>, Error> {
    let text = fs::read_to_string(MOUNTINFO)
        .map_err(|source| Error::syscall("read", MOUNTINFO, source))?;
    Ok(find_cgroup2(&text))
}

/// Whether `path`, which must exist, is on a BPF file system.
pub fn is_bpffs(path: &Path) -> Result<bool, Error> {
    statfs(path)
        .map(|found| found.filesystem_type() == BPF_FS_MAGIC)
        .map_err(|errno| Error::syscall("statfs", path.display(), errno))
}

/// Creates the directory if needed, and mounts a BPF file system on it unless it already is on one.
pub fn mount_bpffs(directory: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| Error::syscall("mkdir", directory.display(), source))?;
    if is_bpffs(directory)? {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("bpf"),
        directory,
        Some("bpf"),
        flags,
        Some("mode=0700"),
    )
    .map_err(|errno| Error::syscall("mount", directory.display(), errno))
}

/// Calls `work` with a directory on a private BPF file system: a thread in a separate mount namespace
/// mounts it over `/sys/fs/bpf`. Its contents are removed afterwards. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// If the namespace or the mount is refused.
pub fn with_private_bpffs<T: Send>(work: impl FnOnce(&Path) -> T + Send) -> Result<T, Error> {
    const DIRECTORY: &str = "/sys/fs/bpf";
    let work = || {
        let failed = |call, object| move |errno| Error::syscall(call, object, errno);
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("unshare", "mount namespace"))?;
        let (none, recursive) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, recursive, none).map_err(failed("mount", "/"))?;
        mount(Some("bpf"), DIRECTORY, Some("bpf"), MsFlags::empty(), none)
            .map_err(failed("mount", DIRECTORY))?;
        Ok(work(Path::new(DIRECTORY)))
    };
    match thread::scope(|scope| scope.spawn(work).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The mount with the shortest path that contains the whole hierarchy.
fn find_cgroup2(mountinfo: &str) -> Option<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(3);
            let (root, path) = (fields.next()?, fields.next()?);
            (root == "/" && file_system.split(' ').next()? == "cgroup2").then(|| unescape(path))
        })
        .min_by_key(String::len)
        .map(PathBuf::from)
}

/// Space, tab, newline and backslash are written in octal.
fn unescape(path: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(path.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/cpu rw shared:11 - cgroup cgroup rw,cpu
";

    #[test]
    fn cgroup2_is_found_next_to_cgroup1() {
        let unified = Some(PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(find_cgroup2(HYBRID), unified);
        let alone = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n\
                     40 30 0:27 /a /x rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find_cgroup2(alone), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(find_cgroup2(""), None);
    }

    #[test]
    fn escaped_path_is_decoded() {
        let line = "31 30 0:27 / /a\\040b rw - cgroup2 cgroup2 rw";
        assert_eq!(find_cgroup2(line), Some(PathBuf::from("/a b")));
    }
}
