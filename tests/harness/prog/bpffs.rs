//! A BPF file system that goes when the test ends.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// A BPF file system of its own.
#[derive(Debug)]
pub struct Bpffs(TempDir);

impl Bpffs {
    /// Mounts one below a temporary directory.
    pub fn mount() -> Self {
        let directory = TempDir::with_prefix("npt-bpf-").expect("temporary directory");
        let kind = Some("bpf");
        mount(kind, directory.path(), kind, MsFlags::empty(), None::<&str>).expect("bpffs");
        Self(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // A failed unmount shows as a directory that cannot be removed; there is nobody to tell.
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}
