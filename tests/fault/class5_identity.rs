//! A namespace or a process with the number of an earlier one is distinguished from it.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
};

use netpath_tests::{Netns, fixture::Fixture};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;

/// Mounts a new namespace at `path`; returns its inode number.
fn mount_namespace(path: &Path) -> u64 {
    thread::scope(|scope| {
        let mounted = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
            let own = Some("/proc/thread-self/ns/net");
            mount(own, path, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("mount");
        });
        mounted.join().expect("namespace");
    });
    fs::metadata(path).expect("namespace").ino()
}

fn unmount(path: &Path) {
    umount2(path, MntFlags::MNT_DETACH).expect("unmount");
}

/// Replaces the namespace at `path` by a new one, with the same inode number unless another process takes it first: the
/// kernel reuses the lowest free number.
fn replace_with_same_inode(path: &Path) {
    let inode = fs::metadata(path).expect("namespace").ino();
    unmount(path);
    let directory = TempDir::new().expect("directory");
    let mut others = Vec::new();
    for attempt in 0..100 {
        if mount_namespace(path) == inode || attempt == 99 {
            break;
        }
        // The old namespace is removed asynchronously. Other numbers are kept in use.
        let other = directory.path().join(attempt.to_string());
        File::create(&other).expect("file");
        mount(
            Some(path),
            &other,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .expect("mount");
        others.push(other);
        unmount(path);
    }
    others.iter().for_each(|other| unmount(other));
}

#[test]
fn class5_namespace_with_a_reused_inode_number_is_not_taken_for_the_old_one() {
    let mut fixture = Fixture::with_fast_reconcile();
    let directory = TempDir::new().expect("directory");
    for (round, stopped) in [true, false].into_iter().enumerate() {
        let name = format!("web{round}");
        let path = directory.path().join(&name);
        File::create(&path).expect("file");
        mount_namespace(&path);
        let shown = path.display().to_string();
        fixture.cli_ok(&format!("sandbox create {name} --netns {shown}"));
        fixture.cli_ok(&format!("sandbox exec {name} -- true"));
        if stopped {
            fixture.daemon.stop();
        }
        replace_with_same_inode(&path);
        if stopped {
            fixture.daemon.restart();
        }
        fixture.wait_for("the sandbox is removed", || {
            !fixture.sandboxes().contains(&name)
        });
        let links = Netns::open("new", &path, fixture.host()).exec("ip -o link show");
        assert_eq!(links.lines().count(), 1, "{links}");
        // The new namespace can be adopted under the same name.
        fixture.cli_ok(&format!("sandbox create {name} --netns {shown}"));
        fixture.cli_ok(&format!("sandbox rm {name}"));
        unmount(&path);
    }
}

/// The daemon has not removed the sandbox yet, so that only the check of the command line protects against the entry.
#[test]
fn class5_replaced_namespace_is_not_entered() {
    let fixture = Fixture::new();
    let directory = TempDir::new().expect("directory");
    let path = directory.path().join("web");
    File::create(&path).expect("file");
    mount_namespace(&path);
    fixture.cli_ok(&format!("sandbox create web --netns {}", path.display()));
    let shown = fixture.json("sandbox inspect web");
    assert!(shown[0]["netns_cookie"].is_u64(), "{shown}");
    let mut refused = None;
    // The daemon removes the sandbox within seconds.
    for _ in 0..20 {
        unmount(&path);
        mount_namespace(&path);
        let output = fixture.cli("sandbox exec web -- true");
        assert_ne!(output.status, Some(0), "{output:?}");
        if output.stderr.contains("another network namespace") {
            refused = Some(output);
            break;
        }
        fixture.wait_for("the sandbox is removed", || fixture.sandboxes().is_empty());
        fixture.cli_ok(&format!("sandbox create web --netns {}", path.display()));
    }
    let refused = refused.expect("a refused entry");
    assert!(refused.stderr.contains("sandbox ls"), "{}", refused.stderr);
    unmount(&path);
}
