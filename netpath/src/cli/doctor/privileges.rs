//! Capabilities of this process. A daemon that is started from the same shell has the same ones.

use super::Finding;
use crate::kernel::host;

/// Checks this process.
pub(super) fn check() -> Vec<Finding> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    vec![capabilities(&status)]
}

fn capabilities(status: &str) -> Finding {
    let missing = host::missing_capabilities(status);
    if missing.is_empty() {
        Finding::ok(
            "capabilities",
            "this process has the capabilities that the daemon needs",
        )
    } else {
        Finding::warn(
            "capabilities",
            format!("this process lacks {}", missing.join(", ")),
            "run as root, or start the daemon with 'systemctl start netpath'",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn missing_capabilities_are_named() {
        let all = capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n");
        assert_eq!(all.status, Level::Ok);
        let some = capabilities("CapEff:\t0000000000001000\n");
        assert_eq!(some.status, Level::Warn);
        assert_eq!(
            some.message,
            "this process lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF"
        );
        assert_eq!(capabilities("").status, Level::Warn);
    }
}
