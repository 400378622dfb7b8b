//! Paths of the programs under test and of artifacts.

use std::{env, fs, path::PathBuf, thread};

/// The program under test: `NETPATH_BIN`, else `netpath` in the target directory of the test.
pub fn netpath_binary() -> PathBuf {
    let path = env::var_os("NETPATH_BIN").map_or_else(|| target().join("netpath"), PathBuf::from);
    assert!(
        path.is_file(),
        "{} does not exist: build it with `cargo xtask build`, or set NETPATH_BIN",
        path.display()
    );
    path
}

/// How many times longer a test waits than on an idle machine for development: `NETPATH_TEST_SLOWDOWN`, which emulated
/// machines set, or 3, because other machines are slower or shared. A wait ends as soon as its condition holds.
pub fn slowdown() -> u32 {
    let factor = env::var("NETPATH_TEST_SLOWDOWN").ok();
    factor.and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// The directory for files of the failed test on this thread: `target/test-artifacts/TEST`.
pub fn artifacts() -> PathBuf {
    let thread = thread::current();
    artifacts_of(&thread.name().unwrap_or("unnamed").replace("::", "/"))
}

/// The directory for files of a failed test with this name.
pub fn artifacts_of(test: &str) -> PathBuf {
    let profile = target();
    let directory = profile
        .parent()
        .unwrap_or(&profile)
        .join("test-artifacts")
        .join(test);
    fs::create_dir_all(&directory).expect("directory for artifacts");
    directory
}

/// `target/debug` or `target/release`; the test program is in its `deps`.
fn target() -> PathBuf {
    let test = env::current_exe().expect("path of the test");
    test.ancestors()
        .nth(2)
        .map(PathBuf::from)
        .expect("the test is two levels below the target directory")
}
