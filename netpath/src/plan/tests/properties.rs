//! Plans carried out on a model of the kernel that refuses every step that comes too early or too late.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use proptest::prelude::*;

use crate::model::{
    Change, Driver, Endpoint, GatewayMode, Id, NetnsSource, Network, NetworkMode, PortMapping,
    Protocol, Sandbox, State, Subnet,
};
use crate::plan::{
    Attachment, Desired, Facts, Hook, Observed, ObservedBridge, ObservedInside, ObservedVeth,
    Operation, Uplink, entries::AddressEntry, plan,
};

/// Carries out one step, as the executor and the kernel would.
fn execute(world: &mut Observed, operation: &Operation) {
    match operation.clone() {
        Operation::RemovePorts(keys) => world.ports.retain(|key, _| !keys.contains(key)),
        Operation::RemoveAllow(entries) => {
            world.allow.retain(|entry| !entries.contains(entry));
        }
        Operation::RemoveAddresses(ips) => {
            world.addresses.retain(|ip, _| !ips.contains(ip));
        }
        Operation::RemoveEndpoint { slot } => {
            assert!(
                !world.ports.values().any(|entry| entry.endpoint == slot),
                "ports go first"
            );
            let entry = AddressEntry::Endpoint(slot);
            assert!(
                !world.addresses.values().any(|other| *other == entry),
                "addresses go first"
            );
            world.endpoints.remove(&slot);
        }
        Operation::Detach(attachment) => {
            assert!(
                !world.uplinks.contains_key(&attachment.interface),
                "nothing may be sent to an uplink without programs"
            );
            world.attached.remove(&attachment);
        }
        Operation::DeleteVeth { name } => {
            assert!(
                !world.attached.iter().any(|at| at.interface == name),
                "programs go first"
            );
            forget_device(world, &name);
            world.veths.remove(&name);
        }
        Operation::DeleteNamespace(path) => drop(world.namespaces.remove(&path)),
        Operation::RemoveSubnet(prefix) => drop(world.subnets.remove(&prefix)),
        Operation::RemoveNetwork { index } => drop(world.networks.remove(&index)),
        Operation::DeleteBridge { name } => {
            forget_device(world, &name);
            world.bridges.remove(&name);
        }
        Operation::RemoveUplink { name } => drop(world.uplinks.remove(&name)),
        Operation::PutUplink { name, uplink } => {
            for hook in [Hook::UplinkEgress, Hook::UplinkIngress] {
                let interface = name.clone();
                assert!(
                    world.attached.contains(&Attachment { interface, hook }),
                    "programs come before anything is sent to {name}"
                );
            }
            world.uplinks.insert(name, uplink);
        }
        Operation::Attach(attachment) => {
            let name = &attachment.interface;
            if Hook::OF_ENDPOINT.contains(&attachment.hook) {
                assert!(
                    world.veths.contains_key(name),
                    "{name} is to be created first"
                );
            }
            world.attached.insert(attachment);
        }
        // The plan never has it.
        Operation::PinMap { .. } | Operation::AttachSocket { .. } => {}
        Operation::PutSubnet { prefix, entry } => drop(world.subnets.insert(prefix, entry)),
        Operation::SetBridge { name, bridge } => {
            for name in world.uplinks.keys() {
                let hook = Hook::UplinkEgress;
                let guard = Attachment {
                    interface: name.clone(),
                    hook,
                };
                assert!(
                    world.attached.contains(&guard),
                    "{name} is to be guarded first"
                );
            }
            for address in &bridge.addresses {
                assert!(
                    world.subnets.contains_key(&address.trunc()),
                    "subnets come first"
                );
            }
            world
                .bridges
                .insert(name, ObservedBridge::complete(&bridge));
        }
        Operation::PutNetwork { index, entry } => {
            assert!(
                world.bridges.contains_key(&entry.bridge),
                "bridges come first"
            );
            world.networks.insert(index, entry);
        }
        Operation::CreateNamespace(namespace) => drop(world.namespaces.insert(namespace.path)),
        Operation::CreateVeth { name, veth } => {
            let ours = veth.netns.starts_with("/run");
            assert!(
                !ours || world.namespaces.contains(&veth.netns),
                "namespaces come first"
            );
            let created = ObservedVeth {
                bridge: None,
                mtu: 0,
                up: false,
                inside: Some(ObservedInside {
                    up: false,
                    addresses: BTreeSet::new(),
                    gateways: BTreeSet::new(),
                    ..ObservedInside::complete(&veth.inside)
                }),
            };
            assert!(world.veths.insert(name, created).is_none(), "created twice");
        }
        Operation::SetVeth { name, bridge, mtu } => {
            for hook in Hook::OF_ENDPOINT {
                let attachment = Attachment {
                    interface: name.clone(),
                    hook,
                };
                assert!(
                    world.attached.contains(&attachment),
                    "programs come before traffic"
                );
            }
            assert!(world.bridges.contains_key(&bridge), "bridges come first");
            let veth = world.veths.get_mut(&name).expect("a pair that was created");
            veth.bridge = Some(bridge);
            veth.mtu = mtu;
            veth.up = true;
        }
        Operation::SetInside { name, veth } => {
            let seen = world.veths.get_mut(&name).expect("a pair that was created");
            seen.mtu = veth.mtu;
            seen.inside = Some(ObservedInside::complete(&veth.inside));
        }
        Operation::PutEndpoint { slot, entry } => {
            assert!(
                world.veths.contains_key(&entry.host_interface),
                "pairs come first"
            );
            assert!(
                world.bridges.contains_key(&entry.bridge),
                "bridges come first"
            );
            world.endpoints.insert(slot, entry);
        }
        Operation::PutAddresses(entries) => {
            for (ip, entry) in entries {
                if let AddressEntry::Endpoint(slot) = entry {
                    assert!(
                        world.endpoints.contains_key(&slot),
                        "slots come before addresses"
                    );
                }
                world.addresses.insert(ip, entry);
            }
        }
        Operation::PutAllow(entries) => world.allow.extend(entries),
        Operation::PutPorts(entries) => {
            for (key, entry) in entries {
                let listed = world.allow.iter().any(|allow| allow.list == entry.allow);
                assert!(entry.allow == 0 || listed, "sources come before ports");
                assert!(
                    world.endpoints.contains_key(&entry.endpoint),
                    "slots come before ports"
                );
                world.ports.insert(key, entry);
            }
        }
    }
}

/// What the kernel, and looking again, make of a device that is gone.
fn forget_device(world: &mut Observed, name: &str) {
    world.attached.retain(|at| at.interface != name);
    for veth in world.veths.values_mut() {
        veth.bridge.take_if(|bridge| bridge == name);
    }
    for entry in world.endpoints.values_mut() {
        for device in [&mut entry.host_interface, &mut entry.bridge] {
            if device == name {
                device.clear();
            }
        }
    }
    for entry in world.networks.values_mut() {
        if entry.bridge == name {
            entry.bridge.clear();
        }
    }
}

fn facts() -> Facts {
    let uplink = Uplink {
        mtu: 1500,
        v4: Some("192.0.2.7".parse().unwrap()),
        v6: None,
    };
    Facts {
        uplinks: BTreeMap::from([("eth0".to_owned(), uplink)]),
        host_addresses: BTreeSet::from(["192.0.2.7".parse().unwrap()]),
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
        labels: BTreeMap::new(),
        index: number,
    }
}

/// Which networks exist, and for each sandbox which it is in, from which generation on, and whether it publishes.
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
                    NetnsSource::Path { inode: 7 }
                } else {
                    NetnsSource::Created
                },
                process: None,
                hostname: "h".to_owned(),
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

/// Damage that somebody, or a crash, may have done.
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
        Damage::Namespace => drop(world.namespaces.pop_first()),
        Damage::Programs => world.attached.clear(),
        Damage::Maps => {
            world.endpoints.clear();
            world.ports.pop_first();
            world.addresses.pop_last();
            world.subnets.clear();
            world.allow.clear();
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

/// An inside that was not looked at counts as right.
fn looked_at(mut world: Observed, desired: &Desired) -> Observed {
    for (name, veth) in &mut world.veths {
        if let (None, Some(wanted)) = (&veth.inside, desired.veths.get(name)) {
            veth.inside = Some(ObservedInside::complete(&wanted.inside));
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn from_anything_to_anything_in_a_safe_order(before in shape(), after in shape(), damages in any_damage()) {
        let before = Desired::of_state(&state(&before), &facts());
        let after = Desired::of_state(&state(&after), &facts());
        let mut world = Observed::complete(&before);
        damages.into_iter().for_each(|one| damage(&mut world, one));
        let operations = plan(&after, &world);
        prop_assert!(operations.is_sorted_by_key(Operation::phase), "removing comes first");
        for operation in &operations {
            execute(&mut world, operation);
        }
        prop_assert_eq!(looked_at(world, &after), Observed::complete(&after));
    }

    #[test]
    fn what_is_right_is_left_alone(shape in shape()) {
        let desired = Desired::of_state(&state(&shape), &facts());
        prop_assert_eq!(plan(&desired, &Observed::complete(&desired)), []);
    }

    #[test]
    fn the_whole_is_the_sum_of_its_changes(shape in shape()) {
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
        prop_assert_eq!(&world, &Observed::complete(&Desired::of_state(&state, &facts())));
        changes.iter().rev().for_each(|change| carry_out(&mut world, &change.clone().reversed()));
        prop_assert_eq!(world, Observed::complete(&Desired::of_node(&facts())));
    }
}
