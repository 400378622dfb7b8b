//! From the engine's port bindings to port specifications.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::api::{Binding, PortMap};
use crate::model::{PortSpec, Protocol};

const ANY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

/// One published port, ordered so that ranges are adjacent.
type Single = (Protocol, IpAddr, u16, u16);

/// The specifications of bindings with a fixed host port; consecutive ports are one range. Bindings without a fixed host port are
/// left out: the engine chooses the port. `any` are the host addresses of a binding without one.
pub fn specifications(ports: &PortMap, any: &[IpAddr]) -> Vec<PortSpec> {
    let mut singles = BTreeSet::new();
    for (port, bindings) in ports {
        let Some((container_port, protocol)) = parse_port(port) else {
            continue;
        };
        for binding in bindings.iter().flatten() {
            let Ok(host_port) = binding.host_port.parse::<u16>() else {
                continue;
            };
            for ip in addresses(binding, any) {
                singles.insert((protocol, ip, host_port, container_port));
            }
        }
    }
    ranges(singles.into_iter().filter(|single| single.2 != 0))
}

/// The host addresses of a binding without one, in a network with this option `host_binding_ipv4`.
pub fn any_addresses(host_binding: Option<&str>) -> Vec<IpAddr> {
    let address = host_binding.and_then(|text| text.parse::<Ipv4Addr>().ok());
    match address {
        Some(address) if !address.is_unspecified() => vec![address.into()],
        _ => ANY.to_vec(),
    }
}

fn addresses(binding: &Binding, any: &[IpAddr]) -> Vec<IpAddr> {
    if binding.host_ip.is_empty() {
        return any.to_vec();
    }
    binding.host_ip.parse().into_iter().collect()
}

/// `80/tcp` or `80`.
fn parse_port(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    Some((port.parse().ok().filter(|port| *port != 0)?, protocol))
}

fn ranges(singles: impl Iterator<Item = Single>) -> Vec<PortSpec> {
    let mut specs: Vec<PortSpec> = Vec::new();
    for (protocol, ip, host, container) in singles {
        if let Some(last) = specs.last_mut()
            && last.protocol == protocol
            && last.host_ip == Some(ip)
            && let Some(host_ports) = &mut last.host_ports
            && host_ports.1.checked_add(1) == Some(host)
            && last.container_ports.1.checked_add(1) == Some(container)
        {
            host_ports.1 = host;
            last.container_ports.1 = container;
            continue;
        }
        specs.push(PortSpec {
            protocol,
            host_ip: Some(ip),
            host_ports: Some((host, host)),
            container_ports: (container, container),
        });
    }
    specs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(json: &str, any: &[IpAddr]) -> Vec<String> {
        let ports: PortMap = serde_json::from_str(json).expect("ports");
        let specs = specifications(&ports, any);
        specs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn consecutive_ports_are_one_range() {
        let json = r#"{
            "9001/udp": [{"HostIp": "0.0.0.0", "HostPort": "8001"}],
            "9000/udp": [{"HostIp": "0.0.0.0", "HostPort": "8000"}],
            "9003/udp": [{"HostIp": "0.0.0.0", "HostPort": "8002"}],
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8003"}, {"HostIp": "::", "HostPort": "8003"}],
            "90/tcp": null
        }"#;
        assert_eq!(
            specs(json, &ANY),
            [
                "127.0.0.1:8003:80/tcp",
                "[::]:8003:80/tcp",
                "0.0.0.0:8000-8001:9000-9001/udp",
                "0.0.0.0:8002:9003/udp",
            ]
        );
    }

    #[test]
    fn chosen_and_invalid_ports_are_left_out() {
        let json = r#"{
            "80/tcp": [{"HostIp": "", "HostPort": ""}],
            "81/tcp": [{"HostIp": "", "HostPort": "8000-8010"}],
            "82/tcp": [{"HostIp": "nonsense", "HostPort": "8000"}],
            "0/tcp": [{"HostIp": "", "HostPort": "8000"}],
            "83/icmp": [{"HostIp": "", "HostPort": "8000"}],
            "84/tcp": [{"HostIp": "", "HostPort": "0"}]
        }"#;
        assert_eq!(specs(json, &ANY), Vec::<String>::new());
    }

    #[test]
    fn binding_without_address_uses_that_of_the_network() {
        let json = r#"{"80": [{"HostPort": "8080"}]}"#;
        assert_eq!(
            specs(json, &any_addresses(None)),
            ["0.0.0.0:8080:80/tcp", "[::]:8080:80/tcp"]
        );
        let bound = any_addresses(Some("192.0.2.1"));
        assert_eq!(specs(json, &bound), ["192.0.2.1:8080:80/tcp"]);
        assert_eq!(any_addresses(Some("0.0.0.0")), ANY);
    }
}
