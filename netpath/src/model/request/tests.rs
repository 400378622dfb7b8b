use std::{collections::BTreeSet, net::IpAddr, path::Path};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::model::{
    Change, Driver, GatewayMode, Network, PortMapping, PortSpec, Sandbox, State, parse_mac,
};

/// A node with the built-in networks, whose outside the tests choose.
struct Node {
    state: State,
    random: u64,
    avoid: Vec<IpNet>,
    pools: Vec<Pool>,
    listening: Vec<(Protocol, u16)>,
}

impl Node {
    fn new() -> Self {
        let mut node = Self {
            state: State::default(),
            random: 0,
            avoid: Vec::new(),
            pools: vec!["172.20.0.0/14/24".parse().unwrap()],
            listening: Vec::new(),
        };
        while let Some(change) = node.ask(|state, env| state.missing_built_in(env)).unwrap() {
            node.state.apply(&change).unwrap();
        }
        node
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&State, &mut Env<'_>) -> T) -> T {
        let random = &mut self.random;
        let listening = &self.listening;
        ask(
            &self.state,
            &mut Env {
                random: &mut || {
                    *random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    *random ^ (*random >> 32)
                },
                avoid: &self.avoid,
                pools: &self.pools,
                listening: &|protocol, _, port| {
                    listening
                        .contains(&(protocol, port))
                        .then(|| "nginx (pid 7)".to_owned())
                },
                free_ports: (40_000, 40_999),
                tunnel_port: 4789,
                host_netns: Path::new("/proc/1/ns/net"),
            },
        )
    }

    fn made<E>(&mut self, change: Result<Change, E>) -> Result<Change, E> {
        if let Ok(change) = &change {
            self.state.apply(change).unwrap();
        }
        change
    }

    fn network(&mut self, request: NetworkRequest) -> Result<Network, RequestError> {
        let change = self.ask(|state, env| state.create_network(&request, env));
        match self.made(change)? {
            Change::Network {
                after: Some(network),
                ..
            } => Ok(*network),
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, request: SandboxRequest) -> Result<Sandbox, RequestError> {
        let change = self.ask(|state, env| state.create_sandbox(&request, env));
        self.made(change).map(after)
    }

    fn publish(&mut self, sandbox: &str, spec: &str) -> Result<Vec<PortMapping>, RequestError> {
        let specs = [spec.parse::<PortSpec>().unwrap()];
        let change = self.ask(|state, env| state.publish(&name(sandbox), &specs, &[], env));
        self.made(change).map(|change| after(change).ports)
    }

    fn unpublish(&mut self, sandbox: &str, spec: &str) -> Result<Vec<PortMapping>, RequestError> {
        let change = self
            .state
            .unpublish(&name(sandbox), &[spec.parse().unwrap()]);
        self.made(change).map(|change| after(change).ports)
    }

    fn connect(&mut self, network: &str, sandbox: &str) -> Result<Sandbox, RequestError> {
        let change = self.ask(|state, env| state.connect(&name(network), &name(sandbox), &[], env));
        self.made(change).map(after)
    }

    fn disconnect(&mut self, network: &str, sandbox: &str) -> Result<Sandbox, RequestError> {
        let change = self.state.disconnect(&name(network), &name(sandbox));
        self.made(change).map(after)
    }

    fn remove(&mut self, sandbox: &str) -> Result<(), RequestError> {
        let change = self.state.remove_sandbox(&name(sandbox));
        self.made(change).map(|_| ())
    }
}

fn after(change: Change) -> Sandbox {
    match change {
        Change::Sandbox {
            after: Some(sandbox),
            ..
        } => *sandbox,
        other => panic!("{other:?}"),
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn net(text: &str) -> NetworkRequest {
    NetworkRequest::new(name(text))
}

fn sandbox(text: &str) -> SandboxRequest {
    SandboxRequest {
        name: Some(name(text)),
        ..SandboxRequest::new(Source::Created {
            directory: "/run/netpath/netns".into(),
        })
    }
}

fn within(text: &str, networks: &[&str]) -> SandboxRequest {
    SandboxRequest {
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        ..sandbox(text)
    }
}

fn with_ports(text: &str, ports: &[&str]) -> SandboxRequest {
    SandboxRequest {
        ports: ports.iter().map(|text| text.parse().unwrap()).collect(),
        ..sandbox(text)
    }
}

fn networks_of(sandbox: &Sandbox) -> Vec<(&str, &str)> {
    let endpoints = sandbox.endpoints.iter();
    endpoints
        .map(|endpoint| (endpoint.network.as_str(), endpoint.interface.as_str()))
        .collect()
}

#[test]
fn the_first_start_has_three_networks_that_stay() {
    let node = Node::new();
    let bridge = node.state.network(&name("bridge")).unwrap();
    assert_eq!(bridge.subnets[0].prefix.to_string(), "172.20.0.0/24");
    assert_eq!(bridge.subnets[0].gateway.to_string(), "172.20.0.1");
    assert_eq!(bridge.subnets[1].prefix.prefix_len(), 64);
    for built_in in ["bridge", "host", "none"] {
        let error = node.state.remove_network(&name(built_in)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
}

#[test]
fn a_network_avoids_what_exists_and_the_routes_of_the_host() {
    let mut node = Node::new();
    node.avoid = vec!["172.20.1.0/24".parse().unwrap()];
    let made = node.network(net("web")).unwrap();
    assert_eq!(made.subnets[0].prefix.to_string(), "172.20.2.0/24");
    assert_eq!(made.index, 2);
    assert!(matches!(
        node.network(net("web")),
        Err(RequestError::Exists { .. })
    ));

    for (subnet, owner) in [
        ("172.20.2.128/25", "network 'web'"),
        ("172.20.0.0/15", "network"),
        ("172.20.1.0/28", "route"),
    ] {
        let request = NetworkRequest {
            subnets: vec![subnet.parse().unwrap()],
            ..net("other")
        };
        let error = node.network(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(owner), "{error}");
    }
}

#[test]
fn subnets_that_cannot_be_are_refused() {
    let mut node = Node::new();
    for subnet in [
        "10.1.2.3/24",
        "10.0.0.0/31",
        "10.0.0.0/32",
        "224.1.0.0/16",
        "127.1.0.0/16",
        "169.254.3.0/24",
        "0.0.0.0/0",
        "fe80::/64",
        "ff05::/64",
        "::/0",
        "fd00::/127",
        "::ffff:10.0.0.0/120",
    ] {
        let request = NetworkRequest {
            subnets: vec![subnet.parse().unwrap()],
            ..net("web")
        };
        let error = node.network(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{subnet}: {error}");
    }
    let with = |gateways: &[&str], ranges: &[&str]| NetworkRequest {
        subnets: vec!["10.1.0.0/24".parse().unwrap()],
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        ip_ranges: ranges.iter().map(|text| text.parse().unwrap()).collect(),
        ..net("web")
    };
    for (gateways, ranges) in [
        (&["10.1.1.1"] as &[&str], &[] as &[&str]),
        (&["10.1.0.0"], &[]),
        (&["10.1.0.255"], &[]),
        (&["10.1.0.1", "10.1.0.2"], &[]),
        (&["fd00::1"], &[]),
        (&[], &["10.1.1.0/28"]),
        (&[], &["10.0.0.0/8"]),
        (&[], &["10.1.0.0/28", "10.1.0.16/28"]),
    ] {
        let error = node.network(with(gateways, ranges)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{gateways:?} {ranges:?}");
    }
    let made = node
        .network(with(&["10.1.0.254"], &["10.1.0.64/28"]))
        .unwrap();
    assert_eq!(made.subnets[0].gateway.to_string(), "10.1.0.254");
    let joined = node.run(within("one", &["web"])).unwrap();
    assert_eq!(joined.endpoints[0].addresses[0].to_string(), "10.1.0.64/24");
}

#[test]
fn options_of_a_network_that_cannot_be_are_refused() {
    let mut node = Node::new();
    let overlay = NetworkRequest {
        driver: Driver::Overlay,
        ..net("web")
    };
    assert_eq!(
        node.network(overlay).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    for mtu in [67, 70_000] {
        let request = NetworkRequest {
            mtu: Some(mtu),
            ..net("web")
        };
        assert_eq!(
            node.network(request).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    let narrow = NetworkRequest {
        mtu: Some(1279),
        ipv6: true,
        ..net("web")
    };
    assert!(node.network(narrow.clone()).is_err());
    assert!(
        node.network(NetworkRequest {
            ipv6: false,
            ..narrow
        })
        .is_ok()
    );
}

#[test]
fn a_network_that_is_used_stays_and_names_its_users() {
    let mut node = Node::new();
    node.network(net("web")).unwrap();
    node.run(within("one", &["web"])).unwrap();
    let error = node.state.remove_network(&name("web")).unwrap_err();
    assert_eq!(error.to_string(), "network 'web' is in use by 'one'");
    node.remove("one").unwrap();
    assert!(node.state.remove_network(&name("web")).is_ok());
    let error = node.state.remove_network(&name("wbe")).unwrap_err();
    assert_eq!(error.to_string(), "no network 'wbe'; did you mean 'web'?");
}

#[test]
fn slots_are_used_again_but_never_with_an_old_generation() {
    let mut node = Node::new();
    let one = node.run(sandbox("one")).unwrap().endpoints[0].clone();
    node.remove("one").unwrap();
    let two = node.run(sandbox("two")).unwrap().endpoints[0].clone();
    assert_eq!((one.slot, two.slot), (1, 1));
    assert!(two.generation > one.generation);
    node.remove("two").unwrap();

    let networks = node.state.networks().cloned().collect();
    node.state = State::load(networks, Vec::new(), node.state.generation()).unwrap();
    let three = node.run(sandbox("three")).unwrap().endpoints[0].clone();
    assert!(three.generation > two.generation);
}

#[test]
fn an_address_that_is_asked_for_must_be_free_and_in_the_subnet() {
    let mut node = Node::new();
    let with_ip = |text: &str, ip: &str| SandboxRequest {
        ips: vec![ip.parse().unwrap()],
        ..sandbox(text)
    };
    node.run(with_ip("one", "172.20.0.77")).unwrap();
    let error = node.run(with_ip("two", "172.20.0.77")).unwrap_err();
    assert!(
        error.to_string().contains("taken by sandbox 'one'"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    for ip in ["172.20.1.7", "172.20.0.1", "172.20.0.0", "172.20.0.255"] {
        assert_eq!(
            node.run(with_ip("two", ip)).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    node.network(net("web")).unwrap();
    let request = SandboxRequest {
        ips: vec!["fd00::9".parse().unwrap()],
        ..within("two", &["web"])
    };
    assert!(matches!(
        node.run(request),
        Err(RequestError::Family { .. })
    ));
}

#[test]
fn a_mac_address_that_is_asked_for_is_unicast_and_unique() {
    let mut node = Node::new();
    let with_mac = |text: &str, mac: &str| SandboxRequest {
        mac: parse_mac(mac),
        ..sandbox(text)
    };
    let made = node.run(with_mac("one", "02:00:5e:00:53:01")).unwrap();
    assert_eq!(made.endpoints[0].mac.to_string(), "02:00:5e:00:53:01");
    for mac in [
        "02:00:5e:00:53:01",
        "01:00:5e:00:53:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
    ] {
        assert!(node.run(with_mac("two", mac)).is_err(), "{mac}");
    }
}

#[test]
fn networks_with_a_way_out_stand_first_and_interfaces_keep_their_names() {
    let mut node = Node::new();
    let internal = NetworkRequest {
        internal: true,
        ..net("db")
    };
    node.network(internal).unwrap();
    node.network(net("web")).unwrap();
    let made = node.run(within("one", &["db", "web"])).unwrap();
    assert_eq!(networks_of(&made), [("web", "eth1"), ("db", "eth0")]);
    let made = node.connect("bridge", "one").unwrap();
    assert_eq!(
        networks_of(&made),
        [("web", "eth1"), ("bridge", "eth2"), ("db", "eth0")]
    );
    node.publish("one", "8080:80").unwrap();
    let made = node.disconnect("web", "one").unwrap();
    assert_eq!(networks_of(&made), [("bridge", "eth2"), ("db", "eth0")]);
    assert_eq!(made.ports.len(), 1);
    let made = node.connect("web", "one").unwrap();
    assert_eq!(
        networks_of(&made),
        [("bridge", "eth2"), ("web", "eth1"), ("db", "eth0")]
    );
    assert!(matches!(
        node.connect("web", "one"),
        Err(RequestError::Connected { .. })
    ));
    node.disconnect("web", "one").unwrap();
    assert!(matches!(
        node.disconnect("web", "one"),
        Err(RequestError::NotConnected { .. })
    ));
}

#[test]
fn ports_rest_while_there_is_no_network_and_nobody_else_gets_them() {
    let mut node = Node::new();
    node.run(with_ports("one", &["8080:80"])).unwrap();
    node.disconnect("bridge", "one").unwrap();
    let error = node.run(with_ports("two", &["8080:80"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "port 8080/tcp is published by sandbox 'one' already"
    );
    assert_eq!(node.connect("bridge", "one").unwrap().ports.len(), 1);
}

#[test]
fn special_networks_exclude_everything_else() {
    let mut node = Node::new();
    node.run(sandbox("one")).unwrap();
    for mode in ["host", "none", "container:one"] {
        let good = node
            .run(within(&format!("of-{}", &mode[..4]), &[mode]))
            .unwrap();
        assert_eq!(good.mode.to_string(), mode);
        assert!(good.endpoints.is_empty());
        let base = within("bad", &[mode]);
        let bad = [
            within("bad", &[mode, "bridge"]),
            within("bad", &["bridge", mode]),
            SandboxRequest {
                ports: vec!["80".parse().unwrap()],
                ..base.clone()
            },
            SandboxRequest {
                ips: vec!["172.20.0.9".parse().unwrap()],
                ..base.clone()
            },
            SandboxRequest {
                mac: parse_mac("02:00:5e:00:53:01"),
                ..base.clone()
            },
        ];
        for request in bad {
            assert_eq!(node.run(request).unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert!(node.connect("bridge", good.name.as_str()).is_err());
        assert!(node.publish(good.name.as_str(), "80:80").is_err());
    }
    let error = node.run(within("bad", &["container:noe"])).unwrap_err();
    assert_eq!(error.to_string(), "no sandbox 'noe'; did you mean 'one'?");
}

#[test]
fn a_namespace_that_others_use_stays() {
    let mut node = Node::new();
    let one = node.run(sandbox("one")).unwrap();
    let two = node.run(within("two", &["container:one"])).unwrap();
    let three = node.run(within("three", &["container:two"])).unwrap();
    assert_eq!((&two.netns, &three.netns), (&one.netns, &one.netns));
    assert_eq!(
        node.remove("one").unwrap_err().to_string(),
        "sandbox 'one' is in use by 'two'"
    );
    assert!(node.remove("two").is_err());

    let sandboxes = node.state.sandboxes().cloned().collect();
    let networks = node.state.networks().cloned().collect();
    node.state = State::load(networks, sandboxes, 0).unwrap();
    for gone in ["three", "two", "one"] {
        node.remove(gone).unwrap();
    }
}

#[test]
fn a_namespace_is_adopted_once() {
    let mut node = Node::new();
    let adopt = |text: &str| SandboxRequest {
        source: Source::Path {
            path: "/run/netns/x".into(),
            inode: 7,
        },
        ..sandbox(text)
    };
    node.run(adopt("one")).unwrap();
    let error = node.run(adopt("two")).unwrap_err();
    assert!(error.to_string().contains("sandbox 'one'"), "{error}");
    let host = SandboxRequest {
        networks: vec![NetworkChoice::Host],
        ..adopt("three")
    };
    assert_eq!(node.run(host).unwrap_err().kind(), ErrorKind::Invalid);
    node.remove("one").unwrap();
    node.run(adopt("two")).unwrap();
}

#[test]
fn a_port_that_somebody_has_is_refused_and_the_owner_named() {
    let mut node = Node::new();
    node.listening = vec![(Protocol::Tcp, 80)];
    node.run(with_ports("one", &["8000-8009:9000-9009", "53:53/udp"]))
        .unwrap();
    node.run(sandbox("two")).unwrap();
    let say = |result: Result<Vec<PortMapping>, RequestError>| result.unwrap_err().to_string();
    assert_eq!(
        say(node.publish("two", "8009:1")),
        "port 8000-8009/tcp is published by sandbox 'one' already"
    );
    assert_eq!(
        say(node.publish("two", "79-81:79-81")),
        "port 80/tcp is in use by nginx (pid 7)"
    );
    assert_eq!(
        say(node.publish("two", "4789:1/udp")),
        "port 4789/udp is in use by the tunnel between nodes"
    );
    assert!(node.publish("two", "8009:1/udp").is_ok());
    assert!(node.publish("two", "127.0.0.1:8009:1").is_ok());
    assert!(node.publish("two", "127.0.0.1:8009:2").is_err());
    for spec in [
        "80:80/sctp",
        "224.0.0.1:1:1",
        "169.254.0.1:1:1",
        "[fe80::1]:1:1",
        "[::ffff:10.0.0.1]:1:1",
    ] {
        assert_eq!(
            say(node.publish("two", spec)).split(' ').next(),
            Some("port"),
            "{spec}"
        );
    }
    node.unpublish("one", "8000-8009:9000-9009").unwrap();
    assert!(node.publish("two", "8009:1").is_ok());
    assert!(node.run(with_ports("three", &["90:1", "90:2"])).is_err());
}

#[test]
fn a_free_port_is_chosen_when_none_is_named() {
    let mut node = Node::new();
    node.listening = (40_000..40_990).map(|port| (Protocol::Tcp, port)).collect();
    let made = node.run(with_ports("one", &["80", "90-98"])).unwrap();
    let [one, many] = made.ports.as_slice() else {
        panic!("{:?}", made.ports)
    };
    assert!((40_990..=40_999).contains(&one.host_port));
    assert_eq!(many.host_port_end - many.host_port, 8);
    let error = node.publish("one", "1-3").unwrap_err();
    assert!(
        matches!(error, RequestError::PortsExhausted { .. }),
        "{error}"
    );

    let ports = |made: Vec<PortMapping>| {
        made.last()
            .map(|mapping| (mapping.host_port, mapping.host_port_end))
    };
    assert_eq!(
        ports(node.publish("one", "8000-8002:80").unwrap()),
        Some((8000, 8000))
    );
    assert_eq!(
        ports(node.publish("one", "8000-8002:81").unwrap()),
        Some((8001, 8001))
    );
    node.unpublish("one", "8000-8002:80").unwrap();
    assert!(node.unpublish("one", "8000-8002:80").is_err());
}

#[test]
fn an_internal_network_publishes_nothing_and_a_routed_one_opens_the_sandboxes_ports() {
    let mut node = Node::new();
    node.network(NetworkRequest {
        internal: true,
        ..net("db")
    })
    .unwrap();
    node.network(NetworkRequest {
        gateway_mode: GatewayMode::Routed,
        ..net("routed")
    })
    .unwrap();
    node.run(within("one", &["db"])).unwrap();
    let error = node.publish("one", "80:80").unwrap_err();
    assert!(
        error.to_string().contains("network 'db' is internal"),
        "{error}"
    );

    node.run(within("two", &["routed"])).unwrap();
    node.run(within("three", &["routed"])).unwrap();
    let open = node.publish("two", "127.0.0.1:8080:80").unwrap();
    assert_eq!((open[0].host_ip, open[0].host_port), (None, 80));
    node.publish("three", "80").unwrap();
    assert!(node.publish("three", "79-81").is_err());
    node.run(with_ports("four", &["80:80"])).unwrap();
    node.connect("bridge", "two").unwrap();
    let error = node.disconnect("routed", "two").unwrap_err();
    assert!(matches!(error, RequestError::PortsCannotMove { .. }));
    node.unpublish("two", "8080:80").unwrap();
    node.disconnect("routed", "two").unwrap();
}

#[test]
fn allow_lists_have_numbers_of_their_own() {
    let mut node = Node::new();
    let mut request = with_ports("one", &["80:80", "81:81"]);
    request.allow = vec!["10.1.2.3/8".parse().unwrap()];
    let made = node.run(request.clone()).unwrap();
    assert_eq!(made.ports[0].allow[0].to_string(), "10.0.0.0/8");
    assert_eq!((made.ports[0].allow_list, made.ports[1].allow_list), (1, 2));
    node.unpublish("one", "80:80").unwrap();
    request.name = Some(name("two"));
    request.ports = vec!["82:82".parse().unwrap()];
    assert_eq!(node.run(request).unwrap().ports[0].allow_list, 1);
}

#[test]
fn a_contradictory_store_is_refused() {
    let mut node = Node::new();
    node.run(with_ports("one", &["80:80"])).unwrap();
    node.run(with_ports("two", &["81:81"])).unwrap();
    let networks: Vec<Network> = node.state.networks().cloned().collect();
    let sandboxes: Vec<Sandbox> = node.state.sandboxes().cloned().collect();
    let spoil = |spoil: &dyn Fn(&mut Sandbox)| {
        let mut sandboxes = sandboxes.clone();
        spoil(&mut sandboxes[1]);
        State::load(networks.clone(), sandboxes, 0)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let first = &sandboxes[0];
    let errors = [
        spoil(&|two| two.name = first.name.clone()),
        spoil(&|two| two.id = first.id),
        spoil(&|two| two.endpoints[0].slot = first.endpoints[0].slot),
        spoil(&|two| two.endpoints[0].slot = 0),
        spoil(&|two| two.endpoints[0].id = first.endpoints[0].id),
        spoil(&|two| two.endpoints[0].mac = first.endpoints[0].mac),
        spoil(&|two| two.endpoints[0].addresses = first.endpoints[0].addresses.clone()),
        spoil(&|two| two.endpoints[0].network = name("gone")),
        spoil(&|two| two.endpoints.push(two.endpoints[0].clone())),
        spoil(&|two| two.ports = first.ports.clone()),
        spoil(&|two| two.ports[0].allow_list = 1),
        spoil(&|two| two.ports.push(two.ports[0].clone())),
        spoil(&|two| two.mode = NetworkMode::None),
        spoil(&|two| two.mode = NetworkMode::Container(two.name.clone())),
    ];
    for error in errors {
        assert!(error.starts_with("sandbox '"), "{error}");
    }
    let mut twice = networks.clone();
    twice[0].subnets = vec![twice[0].subnets[0].clone(), twice[0].subnets[0].clone()];
    assert!(State::load(twice, Vec::new(), 0).is_err());
    let twice = networks.iter().chain(&networks).cloned().collect();
    assert!(State::load(twice, Vec::new(), 0).is_err());
}

#[test]
fn a_change_from_another_state_is_stale_and_changes_nothing() {
    let mut node = Node::new();
    node.run(sandbox("one")).unwrap();
    let specs = ["80:80".parse().unwrap()];
    let late = node
        .ask(|state, env| state.publish(&name("one"), &specs, &[], env))
        .unwrap();
    node.publish("one", "81:81").unwrap();
    let before: Vec<Sandbox> = node.state.sandboxes().cloned().collect();
    assert!(node.state.apply(&late).is_err());
    assert_eq!(before, node.state.sandboxes().cloned().collect::<Vec<_>>());
}

#[derive(Clone, Debug)]
enum Step {
    Run(u8, u8),
    Remove(u8),
    Publish(u8, u16, u16),
    Unpublish(u8),
    Connect(u8, u8),
    Disconnect(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..6, 0_u8..3).prop_map(|(sandbox, network)| Step::Run(sandbox, network)),
        (0_u8..6).prop_map(Step::Remove),
        (0_u8..6, 1_u16..20, 0_u16..4).prop_map(|(s, port, more)| Step::Publish(s, port, more)),
        (0_u8..6).prop_map(Step::Unpublish),
        (0_u8..6, 0_u8..3).prop_map(|(sandbox, network)| Step::Connect(sandbox, network)),
        (0_u8..6, 0_u8..3).prop_map(|(sandbox, network)| Step::Disconnect(sandbox, network)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked: what comes out can be loaded, every change can be reversed, and generations only rise.
    #[test]
    fn requests_never_contradict_each_other(steps in prop::collection::vec(step(), 1..40)) {
        let mut node = Node::new();
        node.network(NetworkRequest { internal: true, ..net("n1") }).unwrap();
        node.network(NetworkRequest { subnets: vec!["10.0.0.0/29".parse().unwrap()], ipv6: true, ..net("n2") }).unwrap();
        let network = |number: u8| ["bridge", "n1", "n2"][usize::from(number)];
        let mut generations = BTreeSet::new();
        for step in steps {
            let _ = match step {
                Step::Run(s, n) => node.run(within(&format!("s{s}"), &[network(n)])).map(|made| {
                    assert!(made.endpoints.iter().all(|endpoint| generations.insert(endpoint.generation)));
                }),
                Step::Remove(s) => node.remove(&format!("s{s}")),
                Step::Publish(s, port, more) => {
                    let last = port + more;
                    node.publish(&format!("s{s}"), &format!("{port}-{last}:{port}-{last}")).map(|_| ())
                }
                Step::Unpublish(s) => match node.state.sandbox(&name(&format!("s{s}"))).map(|sandbox| sandbox.ports.first().cloned()) {
                    Ok(Some(mapping)) => node.unpublish(&format!("s{s}"), &mapping.to_string()).map(|_| ()),
                    _ => Ok(()),
                },
                Step::Connect(s, n) => node.connect(network(n), &format!("s{s}")).map(|_| ()),
                Step::Disconnect(s, n) => node.disconnect(network(n), &format!("s{s}")).map(|_| ()),
            };
            let networks: Vec<Network> = node.state.networks().cloned().collect();
            let sandboxes: Vec<Sandbox> = node.state.sandboxes().cloned().collect();
            let loaded = State::load(networks, sandboxes, node.state.generation());
            let loaded = loaded.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&loaded.ids, &node.state.ids);
            prop_assert_eq!(&loaded.slots, &node.state.slots);
            prop_assert_eq!(&loaded.allow_lists, &node.state.allow_lists);
            let addresses: Vec<IpAddr> = node.state.sandboxes().flat_map(|s| &s.endpoints).flat_map(|e| &e.addresses).map(IpNet::addr).collect();
            let unique: BTreeSet<IpAddr> = addresses.iter().copied().collect();
            prop_assert_eq!(addresses.len(), unique.len());
        }
        for name in node.state.sandboxes().map(|sandbox| sandbox.name.to_string()).collect::<Vec<_>>() {
            let before = node.state.clone();
            let change = node.state.remove_sandbox(&name.parse().unwrap()).unwrap();
            node.state.apply(&change).unwrap();
            node.state.apply(&change.reversed()).unwrap();
            prop_assert_eq!(&before.slots, &node.state.slots);
            node.remove(&name).unwrap();
        }
        prop_assert_eq!(&node.state.slots, &crate::ipam::Ranges::default());
        prop_assert_eq!(&node.state.allow_lists, &crate::ipam::Ranges::default());
    }
}
