//! Requirements on a host: kernel version and capabilities.

/// Oldest kernel that is tested, major and minor number.
pub const OLDEST: (u32, u32) = (6, 1);

/// `CAP_NET_ADMIN`, `CAP_SYS_ADMIN`, `CAP_PERFMON`, `CAP_BPF` (linux/capability.h).
const CAPABILITIES: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// Major and minor number of a kernel's release, such as `6.12.48+deb13-amd64`; `None` if it does not begin with them.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|byte: char| !byte.is_ascii_digit())
        .map_while(|part| part.parse().ok());
    numbers.next().zip(numbers.next())
}

/// Capabilities that netpath needs and that a process lacks. `status` is the text of its `/proc/PID/status`.
pub fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default();
    CAPABILITIES
        .iter()
        .filter(|(bit, _)| held & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect()
}
