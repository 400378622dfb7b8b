//! Creates the two nodes.

use std::{net::IpAddr, path::Path};

use netpath_tests::{Daemon, Netns};
use serde_json::Value;

use super::{Map, Member, NETWORKS, SANDBOX_MTU, SANDBOXES};

pub fn netpath_node(daemon: &Daemon, host: &Netns) -> (Map, Vec<Netns>) {
    for (name, [v4, v6], _) in NETWORKS {
        let mut command = vec!["network", "create", name, "--subnet", v4, "--subnet", v6];
        command.extend(["--mtu", SANDBOX_MTU]);
        daemon.cli(&command).success();
    }
    let mut members = Vec::new();
    let mut sandboxes = Vec::new();
    for (name, end, network) in SANDBOXES {
        let (network, _, gateways) = NETWORKS[network];
        let publish = [false, true].map(|udp| {
            let (outer, inner) = end.published(udp);
            let protocol = if udp { "udp" } else { "tcp" };
            format!("{outer}:{inner}/{protocol}")
        });
        let mac_text = format!("02:00:00:00:bb:0{}", end as u8);
        let mut command = vec!["sandbox", "create", name, "--network", network];
        command.extend(["--mac", &mac_text]);
        command.extend(publish.iter().flat_map(|spec| ["-p", spec]));
        daemon.cli(&command).success();
        let found = daemon.json(&["sandbox", "inspect", name]);
        let endpoint = &found[0]["endpoints"][0];
        let bridge = device_of(host, gateways[0]);
        let addresses = [false, true].map(|v6| address(endpoint, v6));
        for address in addresses {
            neighbour(host, &address.to_string(), &mac_text, &bridge);
        }
        members.push(Member {
            addresses,
            mac: mac(&mac_text),
            gateway_mac: mac_of(host, &bridge),
        });
        let path = found[0]["netns"].as_str().expect("netns");
        sandboxes.push(Netns::open(name, Path::new(path), host));
    }
    (Map { members }, sandboxes)
}

/// The setup of dockerd without its proxy: bridges, masquerading at the uplink, DNAT for every local
/// address, and SNAT where a sandbox reaches itself.
pub fn netfilter_node(map: &Map, host: &Netns) -> Vec<Netns> {
    host.sysctl("net/ipv4/conf/all/send_redirects", "0");
    host.sysctl("net/ipv4/conf/default/send_redirects", "0");
    for (index, (name, _, [v4, v6])) in NETWORKS.into_iter().enumerate() {
        let member = &map.members[if index == 0 { 0 } else { 2 }];
        let mac = text(member.gateway_mac);
        host.exec(&format!(
            "ip link add name {name} address {mac} type bridge"
        ));
        host.exec(&format!("ip link set {name} up"));
        host.exec(&format!("ip addr add {v4}/24 dev {name}"));
        host.exec(&format!("ip addr add {v6}/64 dev {name} nodad"));
    }
    let mut sandboxes = Vec::new();
    for (name, end, network) in SANDBOXES {
        let (network, ..) = NETWORKS[network];
        let member = &map.members[end as usize];
        let mac = text(member.mac);
        let netns = Netns::new(name);
        host.exec(&format!(
            "ip link add name v{name} type veth peer name eth0 address {mac} netns {}",
            netns.path().display()
        ));
        host.exec(&format!("ip link set v{name} master {network} up"));
        host.exec(&format!("bridge link set dev v{name} hairpin on"));
        netns.exec("ip link set eth0 up");
        host.exec(&format!(
            "bridge fdb replace {mac} dev v{name} master static"
        ));
        for address in member.addresses {
            neighbour(host, &address.to_string(), &mac, network);
        }
        sandboxes.push(netns);
    }
    // Packets that are translated between two ports of a bridge must be translated back there.
    host.sysctl("net/bridge/bridge-nf-call-iptables", "1");
    host.sysctl("net/bridge/bridge-nf-call-ip6tables", "1");
    for v6 in [false, true] {
        let program = if v6 { "ip6tables" } else { "iptables" };
        let nat = |rule: &str| host.exec(&format!("{program} -t nat -A {rule}"));
        for (_, subnets, _) in NETWORKS {
            let subnet = subnets[usize::from(v6)];
            nat(&format!("POSTROUTING -s {subnet} -o eth0 -j MASQUERADE"));
        }
        for (_, end, _) in SANDBOXES {
            let to = map.sandbox(end, v6);
            for udp in [false, true] {
                let (outer, inner) = end.published(udp);
                let protocol = if udp { "udp" } else { "tcp" };
                let target = if v6 {
                    format!("[{to}]:{inner}")
                } else {
                    format!("{to}:{inner}")
                };
                nat(&format!(
                    "PREROUTING -m addrtype --dst-type LOCAL -p {protocol} --dport {outer} -j DNAT --to {target}"
                ));
                nat(&format!(
                    "POSTROUTING -s {to} -d {to} -p {protocol} --dport {inner} -j MASQUERADE"
                ));
            }
        }
    }
    // netpath checks neither sequence numbers nor checksums.
    host.sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1");
    host.sysctl("net/netfilter/nf_conntrack_checksum", "0");
    host.sysctl("net/netfilter/nf_conntrack_frag6_timeout", "3600");
    sandboxes
}

/// No rate limit of ICMP errors.
pub fn disable_rate_limits(host: &Netns) {
    host.sysctl("net/ipv4/icmp_ratelimit", "0");
    host.sysctl("net/ipv4/icmp_msgs_per_sec", "1000000");
    host.sysctl("net/ipv4/icmp_msgs_burst", "1000000");
    host.sysctl("net/ipv6/icmp/ratelimit", "0");
    // No timeout of incomplete datagrams within a run.
    host.sysctl("net/ipv4/ipfrag_time", "3600");
    host.sysctl("net/ipv6/ip6frag_time", "3600");
}

pub fn neighbour(host: &Netns, address: &str, mac: &str, device: &str) {
    host.exec(&format!(
        "ip neigh replace {address} lladdr {mac} dev {device} nud permanent"
    ));
}

fn device_of(host: &Netns, address: &str) -> String {
    let line = host.exec(&format!("ip -o addr show to {address}"));
    let device = line.split_ascii_whitespace().nth(1);
    device.expect("the gateway's device").to_owned()
}

fn mac_of(host: &Netns, device: &str) -> [u8; 6] {
    let line = host.exec(&format!("ip -o link show dev {device}"));
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "link/ether").expect("Ethernet");
    mac(words.next().expect("a MAC address"))
}

fn address(endpoint: &Value, v6: bool) -> IpAddr {
    let mut texts = endpoint["addresses"].as_array().into_iter().flatten();
    let found = texts.find_map(|text| {
        let address: IpAddr = text.as_str()?.split('/').next()?.parse().ok()?;
        (address.is_ipv6() == v6).then_some(address)
    });
    found.expect("an address of each family")
}

pub fn mac(text: &str) -> [u8; 6] {
    let mut bytes = [0; 6];
    for (byte, digits) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(digits, 16).expect("a MAC address");
    }
    bytes
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
