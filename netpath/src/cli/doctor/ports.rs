//! Ports that SNAT can use: those from 1024 on outside the range of ephemeral ports.

use super::Finding;

/// With fewer ports, SNAT may fail for sandboxes with many flows.
const FEW: u32 = 8_192;

const FIX: &str = "sysctl -w net.ipv4.ip_local_port_range='32768 60999'";

/// Checks the running value.
pub(super) fn check() -> Vec<Finding> {
    let value =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    vec![snat_ports(&value)]
}

fn snat_ports(value: &str) -> Finding {
    let mut ends = value
        .split_whitespace()
        .filter_map(|number| number.parse::<u32>().ok());
    let Some((first, last)) = ends.next().zip(ends.next()) else {
        return Finding::warn("snat_ports", "ip_local_port_range cannot be read", FIX);
    };
    // SNAT uses the larger of the two ranges outside the ephemeral range.
    let below = first.saturating_sub(1024);
    let above = 65_535_u32.saturating_sub(last);
    let left = below.max(above);
    let message =
        format!("{left} ports are available to SNAT outside ip_local_port_range {first}-{last}");
    if left == 0 {
        Finding::fail("snat_ports", message, FIX)
    } else if left < FEW {
        Finding::warn("snat_ports", message, FIX)
    } else {
        Finding::ok("snat_ports", message)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn few_snat_ports_are_reported() {
        assert_eq!(snat_ports("32768\t60999\n").status, Level::Ok);
        assert_eq!(snat_ports("10000 65535").status, Level::Ok);
        assert_eq!(snat_ports("5000 65000").status, Level::Warn);
        assert_eq!(snat_ports("1024 65535").status, Level::Fail);
        assert_eq!(snat_ports("").status, Level::Warn);
    }
}
