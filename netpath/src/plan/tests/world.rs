//! A simulation of the kernel and the maps that panics on every operation that comes too early or too late.

use ipnet::IpNet;

use crate::plan::{
    Attachment, Hook, Observed, ObservedBridge, ObservedInside, ObservedVeth, Operation,
    tables::{Addition, Entries, Entry as _, Removal, for_each_table},
};

/// Executes one operation, with the same effect as kernel and datapath.
pub(crate) fn execute(world: &mut Observed, operation: &Operation) {
    match operation.clone() {
        Operation::Remove(removal) => {
            check_removal(world, &removal);
            remove(&mut world.entries, removal);
        }
        Operation::Detach(attachment) => {
            assert!(
                !world.entries.interfaces.contains_key(&attachment.interface),
                "nothing may be sent to an interface without programs"
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
        Operation::DeleteNamespace(path) => {
            world.namespaces.remove(&path);
            world.left_over.remove(&path);
        }
        Operation::DeleteBridge { name } => {
            forget_device(world, &name);
            world.bridges.remove(&name);
        }
        Operation::Attach(attachment) => {
            let name = &attachment.interface;
            if Hook::OF_ENDPOINT.contains(&attachment.hook) && name.starts_with("npv-") {
                assert!(
                    world.veths.contains_key(name),
                    "{name} is to be created first"
                );
            }
            world.attached.insert(attachment);
        }
        // No plan has these.
        Operation::PinMap { .. } | Operation::AttachSocket { .. } => {}
        Operation::SetBridge { name, bridge } => {
            for name in world.entries.interfaces.keys() {
                let guard = Attachment::new(name, Hook::UplinkEgress);
                assert!(
                    world.attached.contains(&guard),
                    "{name} is to be guarded first"
                );
            }
            for address in &bridge.addresses {
                assert!(
                    world.entries.subnets.contains_key(&address.trunc()),
                    "subnets come first"
                );
            }
            world
                .bridges
                .insert(name, ObservedBridge::complete(&bridge));
        }
        Operation::CreateNamespace(namespace) => {
            world.left_over.remove(&namespace.path);
            world.namespaces.insert(namespace.path);
        }
        Operation::CreateVeth { name, veth } => {
            let ours = veth.netns.starts_with("/run");
            assert!(
                !ours || world.namespaces.contains(&veth.netns),
                "namespaces come first"
            );
            let mut created = ObservedVeth::complete(&veth);
            created.bridge = None;
            created.up = false;
            created.configured = false;
            created.inside = None;
            assert!(world.veths.insert(name, created).is_none(), "created twice");
        }
        Operation::SetVeth {
            name,
            bridge,
            mtu,
            rate,
        } => {
            for hook in Hook::OF_ENDPOINT {
                let attachment = Attachment::new(&name, hook);
                assert!(
                    world.attached.contains(&attachment),
                    "programs come before traffic"
                );
            }
            assert!(world.bridges.contains_key(&bridge), "bridges come first");
            let veth = world.veths.get_mut(&name).expect("a pair that was created");
            veth.bridge = Some(bridge);
            veth.mtu = mtu;
            veth.rate = rate;
            veth.up = true;
        }
        Operation::SetInside { name, veth, .. } => {
            let seen = world.veths.get_mut(&name).expect("a pair that was created");
            assert!(!seen.configured, "a container link is configured once");
            seen.configured = true;
            seen.inside = Some(ObservedInside::complete(&veth));
        }
        Operation::RestoreInside {
            name,
            addresses,
            gateways,
            ..
        } => {
            let inside = inside_mut(world, &name);
            inside.addresses.extend(addresses.iter().map(IpNet::addr));
            inside.gateways.extend(gateways);
        }
        Operation::SetInsideMtu { name, veth } => inside_mut(world, &name).mtu = veth.mtu,
        Operation::MoveGateway { name, gateway, .. } => {
            inside_mut(world, &name).gateways.insert(gateway);
        }
        Operation::Put(addition) => {
            check_addition(world, &addition);
            put(&mut world.entries, addition);
        }
    }
}

fn inside_mut<'a>(world: &'a mut Observed, name: &str) -> &'a mut ObservedInside {
    let veth = world.veths.get_mut(name).expect("a pair that exists");
    veth.inside
        .as_mut()
        .expect("a container link that was observed")
}

macro_rules! access {
    ($($field:ident: $Table:ident($Entry:ty),)+) => {
        fn put(entries: &mut Entries, addition: Addition) {
            match addition {
                $(Addition::$Table(list) => entries.$field.extend(list),)+
            }
        }

        fn remove(entries: &mut Entries, removal: Removal) {
            match removal {
                $(Removal::$Table(keys) => entries.$field.retain(|key, _| !keys.contains(key)),)+
            }
        }
    };
}

for_each_table!(access);

fn check_removal(world: &Observed, removal: &Removal) {
    let Removal::Endpoints(slots) = removal else {
        return;
    };
    let entries = &world.entries;
    let removed = |slot: Option<u32>| slot.is_some_and(|slot| slots.contains(&slot));
    let mut ports = entries.ports.values();
    assert!(
        !ports.any(|entry| removed(entry.endpoint())),
        "published ports are removed before their endpoint"
    );
    let mut addresses = entries.addresses.values();
    assert!(
        !addresses.any(|entry| removed(entry.endpoint())),
        "addresses are removed before their endpoint"
    );
}

fn check_addition(world: &Observed, addition: &Addition) {
    let entries = &world.entries;
    match addition {
        Addition::Interfaces(list) => {
            for (name, entry) in list {
                for hook in [Hook::UplinkEgress, Hook::UplinkIngress] {
                    let attachment = Attachment {
                        header: entry.header,
                        ..Attachment::new(name, hook)
                    };
                    assert!(
                        world.attached.contains(&attachment),
                        "the programs of {name} are attached before its entry is added"
                    );
                }
            }
        }
        Addition::Networks(list) => assert!(
            list.iter()
                .all(|(_, entry)| world.bridges.contains_key(&entry.bridge)),
            "bridges are created before networks are added"
        ),
        Addition::Endpoints(list) => {
            for (_, entry) in list {
                assert!(
                    world.veths.contains_key(&entry.host_interface)
                        && world.bridges.contains_key(&entry.bridge),
                    "devices are created before endpoints are added"
                );
            }
        }
        Addition::Addresses(list) => {
            let mut slots = list.iter().filter_map(|(_, entry)| entry.endpoint());
            assert!(
                slots.all(|slot| entries.endpoints.contains_key(&slot)),
                "endpoints are added before their addresses"
            );
        }
        Addition::Ports(list) => {
            for (_, entry) in list {
                let listed = entries.allow.keys().any(|key| key.list == entry.allow);
                assert!(
                    entry.allow == 0 || listed,
                    "allowed sources are added before published ports"
                );
                assert!(
                    entries.endpoints.contains_key(&entry.endpoint),
                    "endpoints are added before their published ports"
                );
            }
        }
        // The entries of other tables refer to no other object.
        _ => {}
    }
}

/// Removes every reference to a device that was deleted, as observing again would.
pub(crate) fn forget_device(world: &mut Observed, name: &str) {
    world.attached.retain(|at| at.interface != name);
    for veth in world.veths.values_mut() {
        veth.bridge.take_if(|bridge| bridge == name);
    }
    for entry in world.entries.endpoints.values_mut() {
        for device in [&mut entry.host_interface, &mut entry.bridge] {
            if device == name {
                device.clear();
            }
        }
    }
    for entry in world.entries.networks.values_mut() {
        if entry.bridge == name {
            entry.bridge.clear();
        }
    }
}
