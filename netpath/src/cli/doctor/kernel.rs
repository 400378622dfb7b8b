//! The kernel: its version and its type information.

use std::path::Path;

use super::Finding;
use crate::kernel::host;

/// Checks the running kernel.
pub(super) fn check() -> Vec<Finding> {
    let release = nix::sys::utsname::uname()
        .map(|uname| uname.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    vec![version(&release), btf(Path::new("/sys/kernel/btf/vmlinux"))]
}

fn version(release: &str) -> Finding {
    let (major, minor) = host::OLDEST;
    match host::version(release) {
        Some(version) if version >= host::OLDEST => Finding::ok("kernel", release),
        Some(_) => Finding::fail(
            "kernel",
            format!("{release} is too old"),
            format!("install Linux {major}.{minor} or newer"),
        ),
        None => Finding::fail(
            "kernel",
            format!("'{release}' is not a version"),
            format!("install Linux {major}.{minor} or newer"),
        ),
    }
}

fn btf(path: &Path) -> Finding {
    if path.exists() {
        Finding::ok("btf", path.display().to_string())
    } else {
        Finding::fail(
            "btf",
            format!("there is no {}", path.display()),
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn versions_are_compared_by_number() {
        let level = |release| version(release).status;
        assert_eq!(level("6.6.0"), Level::Ok);
        assert_eq!(level("6.1.0-18-amd64"), Level::Ok);
        assert_eq!(level("6.5.13"), Level::Ok);
        assert_eq!(level("6.12"), Level::Ok);
        assert_eq!(level("10.0.1"), Level::Ok);
        assert_eq!(level("5.15.0-100-generic"), Level::Fail);
        assert_eq!(level("6.0.19"), Level::Fail);
        assert_eq!(level(""), Level::Fail);
    }
}
