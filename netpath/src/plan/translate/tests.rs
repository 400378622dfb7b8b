use super::*;
use crate::model::{Driver, Encap, Id, NetworkMode, Overlay, Owner, Peer, Protocol, Subnet, Vni};
use crate::plan::{AdoptedDevice, Observed, Operation, Underlay, plan};

fn network(number: u32, prefixes: &[&str]) -> Network {
    let subnets = prefixes.iter().map(|prefix| {
        let prefix: IpNet = prefix.parse().unwrap();
        Subnet {
            prefix,
            gateway: prefix
                .hosts()
                .nth(usize::from(prefix.addr().is_ipv6()))
                .unwrap(),
            range: None,
        }
    });
    Network {
        id: Id::from_random(u64::from(number) << 8),
        name: format!("n{number}").parse().unwrap(),
        driver: Driver::Bridge,
        subnets: subnets.collect(),
        mtu: None,
        internal: false,
        icc: true,
        masquerade: true,
        gateway_mode: GatewayMode::Nat,
        overlay: None,
        labels: BTreeMap::new(),
        owner: Owner::Netpath,
        adopted: None,
        index: number,
    }
}

fn endpoint(network: u32, addresses: &[&str]) -> Endpoint {
    let id = Id::from_random(u64::from(network) << 16);
    Endpoint {
        id,
        network: format!("n{network}").parse().unwrap(),
        interface: format!("eth{network}"),
        mac: id.mac(),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        owner: Owner::Netpath,
        rate: None,
        adopted: None,
        slot: network,
        generation: network,
    }
}

fn mapping(host_ip: Option<&str>, host_port: u16) -> PortMapping {
    PortMapping {
        protocol: Protocol::Tcp,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        host_port_end: host_port,
        container_port: 80,
        container_port_end: 80,
        allow: Vec::new(),
        allow_list: 0,
    }
}

fn sandbox(endpoints: Vec<Endpoint>, ports: Vec<PortMapping>) -> Sandbox {
    Sandbox {
        id: Id::from_random(0),
        name: "s".parse().unwrap(),
        mode: NetworkMode::Network,
        netns: "/run/s".into(),
        source: NetnsSource::Created,
        process: None,
        owner: Owner::Netpath,
        hostname: "s".to_owned(),
        forwarding: false,
        endpoints,
        ports,
    }
}

fn desired(networks: Vec<Network>, sandbox: Sandbox) -> Desired {
    let state = State::load(networks, vec![sandbox], 0).unwrap();
    Desired::of_state(&state, &Facts::default())
}

fn gateways(desired: &Desired) -> Vec<(String, Vec<String>)> {
    let texts = |veth: &Veth| veth.inside.gateways.iter().map(IpAddr::to_string).collect();
    let veths = desired.veths.values();
    veths
        .map(|veth| (veth.inside.name.clone(), texts(veth)))
        .collect()
}

#[test]
fn default_route_uses_the_first_external_network_of_each_family() {
    let internal = Network {
        internal: true,
        ..network(3, &["10.3.0.0/24"])
    };
    let networks = vec![
        network(1, &["10.1.0.0/24"]),
        network(2, &["10.2.0.0/24", "fd00:2::/64"]),
        internal,
    ];
    let endpoints = vec![
        endpoint(1, &["10.1.0.2/24"]),
        endpoint(2, &["10.2.0.2/24", "fd00:2::2/64"]),
        endpoint(3, &["10.3.0.2/24"]),
    ];
    let desired = desired(networks, sandbox(endpoints, Vec::new()));
    assert_eq!(
        gateways(&desired),
        [
            ("eth1".to_owned(), vec!["10.1.0.1".to_owned()]),
            ("eth2".to_owned(), vec!["fd00:2::1".to_owned()]),
            ("eth3".to_owned(), Vec::new()),
        ]
    );
    let entry = &desired.entries.endpoints[&3];
    assert_eq!(entry.flags, INTERNAL | MULTIHOMED);
    assert_eq!(entry.gateways, ["10.3.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        desired.entries.addresses[&"10.3.0.1".parse().unwrap()],
        AddressEntry::Gateway
    );
}

#[test]
fn rate_is_restored_and_removed_at_the_host_interface() {
    let of = |rate: Option<&str>| {
        let mut endpoint = endpoint(1, &["10.1.0.2/24"]);
        endpoint.rate = rate.map(|text| text.parse().unwrap());
        let networks = vec![network(1, &["10.1.0.0/24"])];
        desired(networks, sandbox(vec![endpoint], Vec::new()))
    };
    let (plain, limited) = (of(None), of(Some("10mbit")));
    let rates = |desired: &Desired, observed: &Observed| -> Vec<Option<u64>> {
        let operations = plan(desired, observed).into_iter();
        operations
            .filter_map(|operation| match operation {
                Operation::SetVeth { rate, .. } => Some(rate.map(u64::from)),
                _ => None,
            })
            .collect()
    };
    let mut removed = Observed::complete(&limited);
    assert_eq!(rates(&limited, &removed), []);
    for veth in removed.veths.values_mut() {
        veth.rate = None;
    }
    assert_eq!(rates(&limited, &removed), [Some(10_000_000)]);
    assert_eq!(rates(&plain, &Observed::complete(&limited)), [None]);
    assert_eq!(rates(&plain, &Observed::complete(&plain)), []);
}

#[test]
fn endpoints_of_a_forwarding_sandbox_form_a_ring() {
    let networks = || (1..=3).map(|number| network(number, &[&format!("10.{number}.0.0/24")]));
    let endpoints = |number: u32| -> Vec<Endpoint> {
        let address = |network| format!("10.{network}.0.2/24");
        (1..=number)
            .map(|network| endpoint(network, &[&address(network)]))
            .collect()
    };
    let of = |number, forwarding| {
        let mut sandbox = sandbox(endpoints(number), Vec::new());
        sandbox.forwarding = forwarding;
        desired(networks().collect(), sandbox)
    };
    let ring = |desired: &Desired| -> Vec<(bool, u32)> {
        let entries = desired.entries.endpoints.values();
        entries
            .map(|entry| (entry.flags & FORWARDING != 0, entry.next))
            .collect()
    };
    assert_eq!(ring(&of(3, true)), [(true, 2), (true, 3), (true, 1)]);
    assert_eq!(ring(&of(1, true)), [(true, 0)]);
    assert_eq!(ring(&of(2, false)), [(false, 0), (false, 0)]);
    assert!(of(1, true).namespaces.iter().all(|other| other.forwarding));
    assert!(!of(1, false).namespaces.iter().any(|other| other.forwarding));
}

#[test]
fn routed_network_publishes_at_endpoint_addresses() {
    let routed = Network {
        gateway_mode: GatewayMode::Routed,
        icc: false,
        ..network(1, &["10.1.0.0/24", "fd00:1::/64"])
    };
    let endpoints = vec![endpoint(1, &["10.1.0.2/24", "fd00:1::2/64"])];
    let desired = desired(vec![routed], sandbox(endpoints, vec![mapping(None, 80)]));
    assert_eq!(desired.entries.networks[&1].flags, ROUTED | ICC_OFF);
    let keys: Vec<String> = desired
        .entries
        .ports
        .keys()
        .map(PortKey::to_string)
        .collect();
    assert_eq!(keys, ["10.1.0.2:80/tcp", "[fd00:1::2]:80/tcp"]);
}

#[test]
fn ports_need_external_access_and_an_address_of_their_family() {
    let ports = vec![
        mapping(None, 80),
        mapping(Some("::1"), 81),
        mapping(Some("0.0.0.0"), 82),
    ];
    let joined = sandbox(vec![endpoint(1, &["10.1.0.2/24"])], ports.clone());
    let keys = |desired: Desired| -> Vec<String> {
        desired
            .entries
            .ports
            .keys()
            .map(PortKey::to_string)
            .collect()
    };
    let open = desired(vec![network(1, &["10.1.0.0/24"])], joined.clone());
    assert_eq!(keys(open), ["80/tcp", "0.0.0.0:82/tcp"]);
    let internal = Network {
        internal: true,
        ..network(1, &["10.1.0.0/24"])
    };
    assert!(keys(desired(vec![internal], joined)).is_empty());
    assert!(keys(desired(Vec::new(), sandbox(Vec::new(), ports))).is_empty());
}

#[test]
fn mtu_is_the_configured_one_or_of_the_default_routes() {
    let facts = Facts {
        mtu: Some(1450),
        ..Facts::default()
    };
    let of = |network: &Network, facts: &Facts| mtu(network, facts);
    let plain = network(1, &["10.1.0.0/24"]);
    assert_eq!(of(&plain, &Facts::default()), 1500);
    assert_eq!(of(&plain, &facts), 1450);
    let with_mtu = Network {
        mtu: Some(1300),
        ..plain
    };
    assert_eq!(of(&with_mtu, &facts), 1300);
}

/// A network over bridge `br0`, with an endpoint over `veth1`.
fn adopted() -> (State, Facts) {
    let network = Network {
        adopted: Some("br0".to_owned()),
        ..network(1, &["10.1.0.0/24"])
    };
    let endpoint = Endpoint {
        adopted: Some("veth1".to_owned()),
        ..endpoint(1, &["10.1.0.2/24"])
    };
    let sandbox = sandbox(vec![endpoint], vec![mapping(None, 80)]);
    let device = |last| AdoptedDevice {
        mac: MacAddr([2, 0, 0, 0, 0, last]),
        mtu: 1400,
    };
    let devices = [
        ("br0".to_owned(), device(1)),
        ("veth1".to_owned(), device(2)),
    ];
    let facts = Facts {
        host_addresses: BTreeSet::from(["10.1.0.1".parse().unwrap()]),
        adopted: BTreeMap::from(devices),
        ..Facts::default()
    };
    (State::load(vec![network], vec![sandbox], 9).unwrap(), facts)
}

#[test]
fn adopted_devices_get_programs_and_entries_only() {
    let (state, facts) = adopted();
    let desired = Desired::of_state(&state, &facts);
    assert!(desired.bridges.is_empty() && desired.veths.is_empty());
    let interfaces: BTreeSet<_> = desired
        .attachments()
        .into_iter()
        .map(|at| at.interface)
        .collect();
    assert_eq!(interfaces, BTreeSet::from(["veth1".to_owned()]));
    let entry = &desired.entries.endpoints[&1];
    assert_eq!(
        (entry.host_interface.as_str(), entry.bridge.as_str()),
        ("veth1", "br0")
    );
    assert_eq!(
        (entry.gateway_mac, entry.mtu),
        (MacAddr([2, 0, 0, 0, 0, 1]), 1400)
    );
    assert_eq!(desired.entries.ports.len(), 1);
}

#[test]
fn missing_adopted_device_leaves_no_entry() {
    for missing in ["br0", "veth1"] {
        let (state, mut facts) = adopted();
        facts.adopted.remove(missing);
        let desired = Desired::of_state(&state, &facts);
        assert!(
            desired.entries.endpoints.is_empty() && desired.entries.ports.is_empty(),
            "{missing}"
        );
        assert!(desired.attachments().is_empty(), "{missing}");
    }
}

#[test]
fn address_of_an_adopted_bridge_is_a_host_address_without_its_network() {
    let (state, facts) = adopted();
    let network = state.networks().next().unwrap().clone();
    let removal = Change::Network {
        before: Some(Box::new(network)),
        after: None,
    };
    let (before, after) = Desired::of_change(&removal, &state, &facts);
    let ip = "10.1.0.1".parse().unwrap();
    assert_eq!(
        before.entries.addresses.get(&ip),
        Some(&AddressEntry::Gateway)
    );
    assert_eq!(after.entries.addresses.get(&ip), Some(&AddressEntry::Host));
}

#[test]
fn mtu_of_an_overlay_network_leaves_room_for_the_tunnel() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let peer = |texts: &[&str]| Peer {
        name: "b".parse().unwrap(),
        addresses: texts.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let overlay = Network {
        driver: Driver::Overlay,
        overlay: Some(Overlay {
            vni: Vni::try_from(4096).unwrap(),
            encap: Encap::Vxlan,
        }),
        ..network(1, &["10.1.0.0/24"])
    };
    let (v4, v6) = ("192.0.2.1", "2001:db8::1");
    for (own, peers, mtu, expected) in [
        (&[v4][..], &[v4][..], None, 1450),
        (&[v4, v6], &[v4, v6], None, 1450),
        (&[v4, v6], &[v6], None, 1430),
        (&[v6], &[v4, v6], None, 1430),
        (&[v4], &[v4], Some(9000), 8950),
        (&[], &[], None, 1450),
    ] {
        let facts = Facts {
            mtu: Some(1500),
            underlay: Underlay::new(&addresses(own), mtu, [peer(peers)].iter()),
            ..Facts::default()
        };
        assert_eq!(super::mtu(&overlay, &facts), expected, "{own:?} {peers:?}");
        let configured = Network {
            mtu: Some(1400),
            ..overlay.clone()
        };
        assert_eq!(super::mtu(&configured, &facts), 1400);
        assert_eq!(super::mtu(&network(1, &["10.1.0.0/24"]), &facts), 1500);
    }
}
