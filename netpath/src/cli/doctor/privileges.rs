//! Capabilities of this process, as a stand-in for those of the daemon started from the same place.

use super::Finding;

/// What the daemon needs, by number (`linux/capability.h`).
const NEEDED: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// Checks this process.
pub(super) fn check() -> Vec<Finding> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    vec![capabilities(&status)]
}

fn capabilities(status: &str) -> Finding {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hexadecimal| u64::from_str_radix(hexadecimal.trim(), 16).ok())
        .unwrap_or(0);
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(number, _)| effective >> number & 1 == 0)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        Finding::ok("capabilities", "this process has what the daemon needs")
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
