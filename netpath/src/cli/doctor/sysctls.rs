//! Sysctls that affect BPF programs and forwarding.

use super::Finding;
use crate::kernel::sysctl;

/// Checks the running values.
pub(super) fn check() -> Vec<Finding> {
    let read = |key| sysctl::read(key).ok();
    vec![
        reverse_path(
            read("net/ipv4/conf/all/rp_filter").as_deref(),
            &strict_interfaces(),
        ),
        forwarding(
            read("net/ipv4/ip_forward").as_deref(),
            read("net/ipv6/conf/all/forwarding").as_deref(),
        ),
        unprivileged(read("kernel/unprivileged_bpf_disabled").as_deref()),
        jit(read("net/core/bpf_jit_enable").as_deref()),
    ]
}

/// Interfaces whose own `rp_filter` is strict. The effective value is the larger of the interface's
/// and that of `all`.
fn strict_interfaces() -> Vec<String> {
    let Ok(interfaces) = std::fs::read_dir("/proc/sys/net/ipv4/conf") else {
        return Vec::new();
    };
    let mut strict: Vec<String> = interfaces
        .filter_map(Result::ok)
        .filter(|interface| {
            std::fs::read_to_string(interface.path().join("rp_filter"))
                .is_ok_and(|value| value.trim() == "1")
        })
        .map(|interface| interface.file_name().to_string_lossy().into_owned())
        .filter(|name| !matches!(name.as_str(), "all" | "default" | "lo"))
        .collect();
    strict.sort_unstable();
    strict
}

fn reverse_path(all: Option<&str>, strict: &[String]) -> Finding {
    const EFFECT: &str =
        "strict reverse path filtering drops packets whose return route uses another interface";
    match (all, strict) {
        // A loose `all` makes every interface loose.
        (Some("2"), _) | (_, []) if all != Some("1") => {
            Finding::ok("rp_filter", "not strict for any interface")
        }
        (Some("1"), _) => Finding::warn(
            "rp_filter",
            format!("{EFFECT}, on every interface"),
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ),
        _ => Finding::warn(
            "rp_filter",
            format!("{EFFECT}, on {}", strict.join(", ")),
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ),
    }
}

fn forwarding(v4: Option<&str>, v6: Option<&str>) -> Finding {
    match (v4, v6) {
        (Some("0"), _) => Finding::warn(
            "forwarding",
            "IPv4 forwarding is off: packets that netpath passes to the stack, such as those larger than an MTU, are dropped",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        (_, Some("0")) => Finding::ok(
            "forwarding",
            "on for IPv4; off for IPv6: IPv6 packets that netpath passes to the stack, such as those larger than an MTU, are dropped",
        ),
        _ => Finding::ok("forwarding", "on"),
    }
}

fn unprivileged(value: Option<&str>) -> Finding {
    match value {
        Some("0") => Finding::warn(
            "unprivileged_bpf",
            "every user may load BPF programs",
            "sysctl -w kernel.unprivileged_bpf_disabled=2",
        ),
        _ => Finding::ok("unprivileged_bpf", "only for privileged processes"),
    }
}

fn jit(value: Option<&str>) -> Finding {
    match value {
        Some("0") => Finding::warn(
            "bpf_jit",
            "BPF programs are interpreted, which is many times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        _ => Finding::ok("bpf_jit", "programs are compiled"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn harmful_value_is_reported_with_a_command() {
        for finding in [
            reverse_path(Some("1"), &[]),
            reverse_path(Some("0"), &["eth0".to_owned()]),
            forwarding(Some("0"), Some("1")),
            unprivileged(Some("0")),
            jit(Some("0")),
        ] {
            assert_eq!(finding.status, Level::Warn);
            assert!(finding.fix.unwrap().starts_with("sysctl -w "));
        }
        for finding in [
            reverse_path(Some("2"), &["eth0".to_owned()]),
            reverse_path(Some("0"), &[]),
            forwarding(Some("1"), None),
            unprivileged(Some("2")),
            jit(None),
        ] {
            assert_eq!(finding.status, Level::Ok, "{finding:?}");
        }
    }
}
