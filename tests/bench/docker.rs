//! The rules of dockerd 28 for one bridge network and one container that publishes one port.
//!
//! Taken from dockerd's documentation of its rules (`moby/integration/network/bridge/iptablesdoc`) and its source code
//! (`libnetwork/drivers/bridge/internal/iptabler`), in the same order.

use std::net::IpAddr;

use netpath_tests::Netns;

use crate::setups::{Family, INSIDE, PUBLISHED};

/// The bridge of Docker's default network.
pub const BRIDGE: &str = "docker0";

/// The configuration of dockerd.
#[derive(Clone, Copy)]
pub struct Variant {
    /// `--userland-proxy`.
    pub proxy: bool,
    /// The container is on a user-defined network.
    pub user_network: bool,
}

/// Installs the rules of a container on a user-defined network in its own namespace. They redirect queries for the name
/// server 127.0.0.11 to dockerd, and make conntrack process every packet of the container a second time.
pub fn install_resolver(container: &Netns) {
    const RESOLVER: &str = "127.0.0.11";
    let mut rules = vec![
        "-N DOCKER_OUTPUT".to_owned(),
        "-N DOCKER_POSTROUTING".to_owned(),
        format!("-A OUTPUT -d {RESOLVER} -j DOCKER_OUTPUT"),
        format!("-A POSTROUTING -d {RESOLVER} -j DOCKER_POSTROUTING"),
    ];
    for (protocol, port) in [("tcp", 41_111), ("udp", 42_222)] {
        rules.push(format!(
            "-A DOCKER_OUTPUT -d {RESOLVER} -p {protocol} -m {protocol} --dport 53 -j DNAT --to-destination {RESOLVER}:{port}"
        ));
        rules.push(format!(
            "-A DOCKER_POSTROUTING -s {RESOLVER} -p {protocol} -m {protocol} --sport {port} -j SNAT --to-source :53"
        ));
    }
    for rule in rules {
        container.exec(&format!("iptables --wait -t nat {rule}"));
    }
}

/// Installs the rules. `proxy` is dockerd's `--userland-proxy`, which is on by default.
pub fn install(host: &Netns, family: Family, subnet: &str, container: IpAddr, proxy: bool) {
    let program = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    for rule in rules(family, subnet, container, proxy) {
        host.exec(&format!("{program} --wait {rule}"));
    }
}

fn rules(family: Family, subnet: &str, container: IpAddr, proxy: bool) -> Vec<String> {
    let chains = [
        "DOCKER",
        "DOCKER-BRIDGE",
        "DOCKER-CT",
        "DOCKER-FORWARD",
        "DOCKER-ISOLATION-STAGE-1",
        "DOCKER-ISOLATION-STAGE-2",
        "DOCKER-USER",
    ];
    let mut rules: Vec<String> = chains.map(|chain| format!("-t filter -N {chain}")).into();
    rules.push("-t nat -N DOCKER".to_owned());
    rules.extend(filter(container));
    rules.extend(nat(family, subnet, container, proxy));
    rules.push(format!(
        "-t raw -A PREROUTING -d {container} ! -i {BRIDGE} -j DROP"
    ));
    rules
}

fn filter(container: IpAddr) -> Vec<String> {
    let mut rules = vec![
        "-P FORWARD DROP".to_owned(),
        "-A FORWARD -j DOCKER-USER".to_owned(),
        "-A FORWARD -j DOCKER-FORWARD".to_owned(),
        "-A DOCKER-FORWARD -j DOCKER-CT".to_owned(),
        "-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1".to_owned(),
        "-A DOCKER-FORWARD -j DOCKER-BRIDGE".to_owned(),
        format!("-A DOCKER-FORWARD -i {BRIDGE} -j ACCEPT"),
        format!("-A DOCKER-CT -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
        format!(
            "-A DOCKER-ISOLATION-STAGE-1 -i {BRIDGE} ! -o {BRIDGE} -j DOCKER-ISOLATION-STAGE-2"
        ),
        format!("-A DOCKER-ISOLATION-STAGE-2 -o {BRIDGE} -j DROP"),
        format!("-A DOCKER-BRIDGE -o {BRIDGE} -j DOCKER"),
    ];
    rules.extend(PROTOCOLS.map(|protocol| {
        format!(
            "-A DOCKER -d {container} ! -i {BRIDGE} -o {BRIDGE} -p {protocol} -m {protocol} --dport {INSIDE} -j ACCEPT"
        )
    }));
    rules.push(format!("-A DOCKER ! -i {BRIDGE} -o {BRIDGE} -j DROP"));
    rules
        .iter()
        .map(|rule| format!("-t filter {rule}"))
        .collect()
}

fn nat(family: Family, subnet: &str, container: IpAddr, proxy: bool) -> Vec<String> {
    let (loopback, not_link_local, to) = match family {
        Family::V4 => ("127.0.0.0/8", "", format!("{container}:{INSIDE}")),
        Family::V6 => (
            "::1/128",
            "! -s fe80::/10",
            format!("[{container}]:{INSIDE}"),
        ),
    };
    let (not_loopback, not_bridge) = if proxy {
        (format!("! -d {loopback}"), format!("! -i {BRIDGE}"))
    } else {
        (String::new(), String::new())
    };
    let mut rules = vec![
        "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER".to_owned(),
        format!("-A OUTPUT {not_loopback} -m addrtype --dst-type LOCAL -j DOCKER"),
    ];
    if !proxy {
        rules.push(format!(
            "-A POSTROUTING -o {BRIDGE} -m addrtype --src-type LOCAL -j MASQUERADE"
        ));
    }
    rules.push(format!(
        "-A POSTROUTING -s {subnet} ! -o {BRIDGE} -j MASQUERADE"
    ));
    for protocol in PROTOCOLS {
        if !proxy {
            rules.push(format!(
                "-A POSTROUTING -s {container} -d {container} -p {protocol} -m {protocol} --dport {INSIDE} -j MASQUERADE"
            ));
        }
        rules.push(format!(
            "-A DOCKER {not_link_local} {not_bridge} -p {protocol} -m {protocol} --dport {PUBLISHED} -j DNAT --to-destination {to}"
        ));
    }
    rules.iter().map(|rule| format!("-t nat {rule}")).collect()
}

/// The protocols of the published port.
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];
