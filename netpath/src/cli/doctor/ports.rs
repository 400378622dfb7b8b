//! Ports that are left for source translation: those from 1024 on that the kernel does not give to sockets.

use super::Finding;

/// With fewer, busy sandboxes run out.
const FEW: u32 = 8_192;

const FIX: &str = "sysctl -w net.ipv4.ip_local_port_range='32768 60999'";

/// Checks the running value.
pub(super) fn check() -> Vec<Finding> {
    let value =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    vec![room(&value)]
}

fn room(value: &str) -> Finding {
    let mut ends = value
        .split_whitespace()
        .filter_map(|number| number.parse::<u32>().ok());
    let Some((first, last)) = ends.next().zip(ends.next()) else {
        return Finding::warn("snat_ports", "ip_local_port_range cannot be read", FIX);
    };
    // The larger of the two ranges around that of the sockets is used as a whole.
    let below = first.saturating_sub(1024);
    let above = 65_535_u32.saturating_sub(last);
    let left = below.max(above);
    let message = format!("{left} ports are left beside ip_local_port_range {first}-{last}");
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
    fn sockets_must_leave_room() {
        assert_eq!(room("32768\t60999\n").status, Level::Ok);
        assert_eq!(room("10000 65535").status, Level::Ok);
        assert_eq!(room("5000 65000").status, Level::Warn);
        assert_eq!(room("1024 65535").status, Level::Fail);
        assert_eq!(room("").status, Level::Warn);
    }
}
