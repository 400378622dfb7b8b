//! A simulation of the kernel and the maps that panics on every operation that comes too early or too late.

use std::collections::BTreeSet;

use crate::plan::{
    Attachment, Hook, Observed, ObservedBridge, ObservedInside, ObservedVeth, Operation,
    entries::AddressEntry,
};

/// Executes one operation, with the same effect as kernel and datapath.
pub(crate) fn execute(world: &mut Observed, operation: &Operation) {
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

/// Removes every reference to a device that was deleted, as observing again would.
pub(crate) fn forget_device(world: &mut Observed, name: &str) {
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
