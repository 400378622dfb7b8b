use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

#[test]
fn reused_slot_has_a_new_generation() {
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
fn contradictory_objects_are_refused() {
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
fn change_of_another_state_is_refused() {
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

    /// For any sequence of requests: the state can be loaded, every change can be reversed, and generations only increase.
    #[test]
    fn random_requests_keep_the_state_consistent(steps in prop::collection::vec(step(), 1..40)) {
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
        prop_assert_eq!(node.state.allowed_sources, 0);
    }
}
