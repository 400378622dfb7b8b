//! The topology of the demo as text.

use super::setup::{HOST, OUTSIDE};

/// The addresses of a sandbox.
pub struct Addresses {
    /// IPv4.
    pub v4: String,
    /// IPv6.
    pub v6: String,
}

/// The topology. `port` is published; the server outside listens on `outside_port`.
pub fn draw(
    web: &Addresses,
    client: &Addresses,
    subnets: [&str; 2],
    port: u16,
    outside_port: u16,
) -> String {
    let published = |address: &str| format!("{address} → web");
    let serves = format!("serves {outside_port}");
    let outside = ["eth0", OUTSIDE.0, OUTSIDE.1, "", &serves];
    let host = [
        "eth0",
        HOST.0,
        HOST.1,
        "",
        &published(&format!("*:{port}")),
        &published("127.0.0.1"),
        &published("::1"),
        "",
    ];
    let network = [
        "  network_a".to_owned(),
        format!("┌{:─<14}┐", ""),
        format!("│ {:<12} │", subnets[0]),
        format!("│ {:<12} ├", subnets[1]),
        format!("└{:─<14}┘", ""),
    ];
    let links = ["", " ┌──", " │", "─┤", " │", " └──"];
    let sandboxes = [
        format!("┌ web {:─<12}┐", ""),
        format!("┤ {:<15} │", web.v4),
        format!("│ {:<15} │", web.v6),
        format!("└{:─<17}┘", ""),
        format!("┌ client {:─<9}┐", ""),
        format!("┤ {:<15} │", client.v4),
        format!("│ {:<15} │", client.v6),
        format!("└{:─<17}┘", ""),
    ];

    let mut diagram = format!("  {:<23} host\n", "outside");
    diagram += &format!(" ┌{:─<17}┐     ┌{:─<58}┐\n", "", "");
    for (row, (host, sandbox)) in host.iter().zip(&sandboxes).enumerate() {
        let left = match (outside.get(row), row) {
            (Some(text), 1) => format!(" │ {text:<15} ├─────┤"),
            (Some(text), _) => format!(" │ {text:<15} │     │"),
            (None, 5) => format!(" └{:─<17}┘     │", ""),
            (None, _) => format!("{:25}│", ""),
        };
        let network = network.get(row).map_or("", String::as_str);
        let link = links.get(row).copied().unwrap_or_default();
        diagram += &format!("{left} {host:<16} {network:<16}{link:<4}{sandbox} │\n");
    }
    diagram + &format!("{:25}└{:─<58}┘\n", "", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_equal_width() {
        let addresses = |v4: &str, v6: &str| Addresses {
            v4: v4.into(),
            v6: v6.into(),
        };
        let diagram = draw(
            &addresses("10.88.0.2", "fd00:88::2"),
            &addresses("10.88.0.3", "fd00:88::3"),
            ["10.88.0.0/24", "fd00:88::/64"],
            6379,
            7000,
        );
        let widths: Vec<_> = diagram
            .lines()
            .skip(1)
            .map(|line| line.chars().count())
            .collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{diagram}");
    }
}
