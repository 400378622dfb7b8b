//! A BPF file system that is unmounted when the test ends.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// A mounted BPF file system.
#[derive(Debug)]
pub struct Bpffs(TempDir);

impl Bpffs {
    /// Mounts a BPF file system below a temporary directory.
    pub fn mount() -> Self {
        let directory = TempDir::with_prefix("npt-bpf-").expect("temporary directory");
        let kind = Some("bpf");
        mount(kind, directory.path(), kind, MsFlags::empty(), None::<&str>).expect("bpffs");
        Self(directory)
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // A failed unmount leaves a directory that cannot be removed. A destructor cannot report it.
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}
