//! Properties of plans, executed on [`super::world`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use proptest::prelude::*;

use super::world::{execute, forget_device};
use crate::model::{
    Change, Driver, Endpoint, GatewayMode, Id, NetnsId, NetnsSource, Network, NetworkMode, Owner,
    PortMapping, Protocol, Sandbox, State, Subnet,
};
use crate::plan::{Desired, Facts, Interface, LinkHeader, Observed, Operation, plan};

fn facts() -> Facts {
    let interface = Interface {
        mtu: 1500,
        header: LinkHeader::Ethernet,
        is_uplink: true,
        v4: Some("192.0.2.7".parse().unwrap()),
        v6: None,
    };
    Facts {
        interfaces: BTreeMap::from([("eth0".to_owned(), interface)]),
        mtu: Some(1500),
        host_addresses: BTreeSet::from(["192.0.2.7".parse().unwrap()]),
        ..Facts::default()
    }
}

fn network(number: u32, internal: bool, routed: bool) -> Network {
    Network {
        id: Id::from_random(u64::from(number) << 8),
        name: format!("n{number}").parse().unwrap(),
        driver: Driver::Bridge,
        subnets: vec![Subnet {
            prefix: format!("10.{number}.0.0/24").parse().unwrap(),
            gateway: format!("10.{number}.0.1").parse().unwrap(),
            range: None,
        }],
        mtu: None,
        internal,
        icc: true,
        masquerade: true,
        gateway_mode: if routed {
            GatewayMode::Routed
        } else {
            GatewayMode::Nat
        },
        overlay: None,
        labels: BTreeMap::new(),
        owner: Owner::Netpath,
        adopted: None,
        index: number,
    }
}

/// Which networks exist; for each sandbox its networks, its first generation, and whether it publishes ports.
type Shape = (Vec<bool>, Vec<(Vec<bool>, u32, bool)>);

fn shape() -> impl Strategy<Value = Shape> {
    let sandbox = (
        prop::collection::vec(any::<bool>(), 3),
        1_u32..4,
        any::<bool>(),
    );
    (
        prop::collection::vec(any::<bool>(), 3),
        prop::collection::vec(sandbox, 0..4),
    )
}

fn state((networks, sandboxes): &Shape) -> State {
    let exists = |number: usize| networks.get(number).copied().unwrap_or_default();
    let networks = (0..3).filter(|number| exists(*number));
    let networks = networks.map(|number| network(number as u32 + 1, number == 1, number == 2));
    let networks: Vec<Network> = networks.collect();
    let sandboxes = sandboxes
        .iter()
        .enumerate()
        .map(|(position, (joined, era, publishes))| {
            let mut endpoints: Vec<Endpoint> = Vec::new();
            for network in &networks {
                if joined[network.index as usize - 1] {
                    let slot = position as u32 * 3 + network.index;
                    endpoints.push(Endpoint {
                        id: Id::from_random((u64::from(*era) << 32) | (u64::from(slot) << 8)),
                        network: network.name.clone(),
                        interface: format!("eth{}", endpoints.len()),
                        mac: Id::from_random(u64::from(slot)).mac(),
                        addresses: vec![
                            format!("10.{}.0.{}/24", network.index, position + 2)
                                .parse()
                                .unwrap(),
                        ],
                        owner: Owner::Netpath,
                        rate: None,
                        adopted: None,
                        slot,
                        generation: era * 100 + slot,
                    });
                }
            }
            let mapping = PortMapping {
                protocol: Protocol::Tcp,
                host_ip: None,
                host_port: position as u16 + 80,
                host_port_end: position as u16 + 80,
                container_port: 80,
                container_port_end: 80,
                allow: if *era == 2 {
                    vec!["10.0.0.0/8".parse().unwrap()]
                } else {
                    Vec::new()
                },
                allow_list: if *era == 2 { position as u32 + 1 } else { 0 },
            };
            Sandbox {
                id: Id::from_random((0xff << 32) | ((position as u64) << 8)),
                name: format!("s{position}").parse().unwrap(),
                mode: NetworkMode::Network,
                netns: PathBuf::from(if position == 0 {
                    "/proc/7/ns/net".to_owned()
                } else {
                    format!("/run/s{position}")
                }),
                source: if position == 0 {
                    NetnsSource::Path {
                        namespace: NetnsId {
                            inode: 7,
                            cookie: 9,
                            boot: 1,
                        },
                    }
                } else {
                    NetnsSource::Created
                },
                process: None,
                owner: Owner::Netpath,
                hostname: "h".to_owned(),
                forwarding: false,
                endpoints,
                ports: if *publishes {
                    vec![mapping]
                } else {
                    Vec::new()
                },
            }
        });
    State::load(networks.clone(), sandboxes.collect(), 0).unwrap()
}

/// Damage by other programs or a crash.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Bridge,
    Veth,
    Namespace,
    Programs,
    Maps,
    Down,
    Moved,
}

fn damage(world: &mut Observed, damage: Damage) {
    match damage {
        Damage::Bridge => {
            if let Some((name, _)) = world.bridges.pop_first() {
                forget_device(world, &name);
            }
        }
        Damage::Veth => {
            if let Some((name, _)) = world.veths.pop_first() {
                forget_device(world, &name);
            }
        }
        // Only the file stays.
        Damage::Namespace => world.left_over.extend(world.namespaces.pop_first()),
        Damage::Programs => world.attached.clear(),
        Damage::Maps => {
            world.entries.endpoints.clear();
            world.entries.ports.pop_first();
            world.entries.addresses.pop_last();
            world.entries.subnets.clear();
            world.entries.allow.clear();
        }
        Damage::Down => {
            world.veths.values_mut().for_each(|veth| veth.up = false);
            world
                .bridges
                .values_mut()
                .for_each(|bridge| bridge.up = false);
        }
        Damage::Moved => {
            for veth in world.veths.values_mut() {
                veth.bridge = None;
                veth.inside = None;
            }
        }
    }
}

fn any_damage() -> impl Strategy<Value = Vec<Damage>> {
    use Damage::{Bridge, Down, Maps, Moved, Namespace, Programs, Veth};
    prop::collection::vec(
        prop::sample::select(vec![Bridge, Veth, Namespace, Programs, Maps, Down, Moved]),
        0..4,
    )
}

/// A container link that was not observed counts as correct. Default routes belong to the workload as soon as the container
/// link is configured, so plans need not restore them (`tests/inside.rs`).
fn with_assumed_links(mut world: Observed, desired: &Desired) -> Observed {
    let complete = Observed::complete(desired);
    for (name, veth) in &mut world.veths {
        let wanted = complete
            .veths
            .get(name)
            .and_then(|veth| veth.inside.clone());
        match (&mut veth.inside, wanted) {
            (Some(inside), Some(wanted)) => {
                inside.gateways = wanted.gateways;
                inside.used_v4 = wanted.used_v4;
                inside.used_v6 = wanted.used_v6;
            }
            (inside, wanted) => *inside = wanted,
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_plan_executes_in_a_safe_order(before in shape(), after in shape(), damages in any_damage()) {
        let before = Desired::of_state(&state(&before), &facts());
        let after = Desired::of_state(&state(&after), &facts());
        let mut world = Observed::complete(&before);
        damages.into_iter().for_each(|one| damage(&mut world, one));
        let operations = plan(&after, &world);
        prop_assert!(operations.is_sorted_by_key(Operation::phase), "removing comes first");
        for operation in &operations {
            execute(&mut world, operation);
        }
        prop_assert_eq!(with_assumed_links(world, &after), Observed::complete(&after));
    }

    #[test]
    fn desired_state_needs_no_operation(shape in shape()) {
        let desired = Desired::of_state(&state(&shape), &facts());
        prop_assert_eq!(plan(&desired, &Observed::complete(&desired)), []);
    }

    #[test]
    fn changes_add_up_to_the_full_plan(shape in shape()) {
        let state = state(&shape);
        let mut world = Observed::complete(&Desired::of_node(&facts()));
        let networks = state.networks().map(|network| Change::Network { before: None, after: Some(Box::new(network.clone())) });
        let sandboxes = state.sandboxes().map(|sandbox| Change::Sandbox { before: None, after: Some(Box::new(sandbox.clone())) });
        let changes: Vec<Change> = networks.chain(sandboxes).collect();
        let carry_out = |world: &mut Observed, change: &Change| {
            let (before, after) = Desired::of_change(change, &state, &facts());
            for operation in plan(&after, &Observed::complete(&before)) {
                execute(world, &operation);
            }
        };
        changes.iter().for_each(|change| carry_out(&mut world, change));
        let complete = Desired::of_state(&state, &facts());
        prop_assert_eq!(with_assumed_links(world.clone(), &complete), Observed::complete(&complete));
        changes.iter().rev().for_each(|change| carry_out(&mut world, &change.clone().reversed()));
        prop_assert_eq!(world, Observed::complete(&Desired::of_node(&facts())));
    }
}
