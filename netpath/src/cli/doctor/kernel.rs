//! The kernel: its version and its type information.

use std::path::Path;

use super::Finding;

const OLDEST: (u32, u32) = (6, 1);
/// The first one with TCX links.
const FULL: (u32, u32) = (6, 6);

/// Checks the running kernel.
pub(super) fn check() -> Vec<Finding> {
    let release = nix::sys::utsname::uname()
        .map(|uname| uname.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    vec![version(&release), btf(Path::new("/sys/kernel/btf/vmlinux"))]
}

fn version(release: &str) -> Finding {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let Some(version) = numbers.next().zip(numbers.next()) else {
        return Finding::warn(
            "kernel",
            format!("'{release}' is not a version"),
            "make sure that it is 6.1 or newer",
        );
    };
    if version < OLDEST {
        Finding::fail(
            "kernel",
            format!("{release} is too old"),
            "install Linux 6.1 or newer",
        )
    } else if version < FULL {
        Finding::ok(
            "kernel",
            format!("{release}; programs are attached through netlink, with TCX from 6.6 on"),
        )
    } else {
        Finding::ok("kernel", release)
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
        assert_eq!(level("6.1.0-18-amd64"), Level::Ok);
        assert_eq!(level("6.12"), Level::Ok);
        assert_eq!(level("10.0.1"), Level::Ok);
        assert_eq!(level("5.15.0-100-generic"), Level::Fail);
        assert_eq!(level("6.0.19"), Level::Fail);
        assert_eq!(level(""), Level::Warn);
    }
}
