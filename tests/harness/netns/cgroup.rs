//! A cgroup for the processes of one host.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// A cgroup (v2). Dropping the guard kills its processes and removes it.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Creates a cgroup directly below the root of the hierarchy.
    pub(crate) fn new(name: &str) -> Self {
        let path = root().join(name);
        fs::create_dir(&path).expect("cgroup");
        Self { path }
    }

    /// The directory of the cgroup.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file to which a process writes `0` to join the cgroup.
    pub(crate) fn processes(&self) -> File {
        OpenOptions::new()
            .write(true)
            .open(self.path.join("cgroup.procs"))
            .expect("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..200 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    mounts
        .lines()
        .filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(3);
            let (root, path) = (fields.next()?, fields.next()?);
            (root == "/" && file_system.starts_with("cgroup2 ")).then(|| PathBuf::from(path))
        })
        .min()
        .expect("cgroup v2 is mounted")
}
