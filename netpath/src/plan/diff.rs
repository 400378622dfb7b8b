//! The planner: compares the desired with the observed state.
//!
//! Removal proceeds from outside to inside (ports, addresses, slots, programs, devices) and creation from inside to
//! outside, so that no packet is forwarded by an incomplete configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    Attachment, Desired, Hook, Observed, ObservedBridge, ObservedVeth, Operation, Veth,
    entries::AddressEntry,
};

/// Operations that turn the observed into the desired state, in the order of execution: first every removal,
/// then every creation, each in the order of the variants of [`Operation`].
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Operation> {
    let fresh = Fresh::of(desired, observed);
    let mut operations = Vec::new();
    remove_from_maps(desired, observed, &mut operations);
    remove_devices(desired, observed, &fresh, &mut operations);
    make_devices(desired, observed, &fresh, &mut operations);
    fill_maps(desired, observed, &fresh, &mut operations);
    operations
}

/// Devices to create: entries that hold their interface index must be written again.
struct Fresh<'a> {
    bridges: BTreeSet<&'a str>,
    veths: BTreeSet<&'a str>,
}

impl<'a> Fresh<'a> {
    fn of(desired: &'a Desired, observed: &Observed) -> Self {
        let ours = namespaces(desired);
        let lost_namespace =
            |veth: &Veth| ours.contains(&veth.netns) && !observed.namespaces.contains(&veth.netns);
        let bridges = desired.bridges.keys();
        let veths = desired.veths.iter();
        Self {
            bridges: bridges
                .filter(|name| !observed.bridges.contains_key(*name))
                .map(String::as_str)
                .collect(),
            veths: veths
                .filter(|(name, veth)| !observed.veths.contains_key(*name) || lost_namespace(veth))
                .map(|(name, _)| name.as_str())
                .collect(),
        }
    }
}

fn remove_from_maps(desired: &Desired, observed: &Observed, operations: &mut Vec<Operation>) {
    let gone_slots: BTreeSet<u32> = gone(&desired.endpoints, &observed.endpoints)
        .copied()
        .collect();
    let ports = observed.ports.iter().filter(|(key, entry)| {
        !desired.ports.contains_key(key) || gone_slots.contains(&entry.endpoint)
    });
    let ports: Vec<_> = ports.map(|(key, _)| *key).collect();
    let allow: Vec<_> = observed.allow.difference(&desired.allow).copied().collect();
    let addresses = observed.addresses.iter().filter(|(ip, entry)| {
        let dangling = matches!(entry, AddressEntry::Endpoint(slot) if gone_slots.contains(slot));
        !desired.addresses.contains_key(ip) || dangling
    });
    let addresses: Vec<_> = addresses.map(|(ip, _)| *ip).collect();
    operations.extend(unless_empty(ports, Operation::RemovePorts));
    operations.extend(unless_empty(allow, Operation::RemoveAllow));
    operations.extend(unless_empty(addresses, Operation::RemoveAddresses));
    let slots = gone_slots.into_iter();
    operations.extend(slots.map(|slot| Operation::RemoveEndpoint { slot }));
}

fn remove_devices(
    desired: &Desired,
    observed: &Observed,
    fresh: &Fresh<'_>,
    operations: &mut Vec<Operation>,
) {
    // The entry of an uplink goes before its programs: no endpoint redirects to it then.
    let uplinks = gone(&desired.uplinks, &observed.uplinks).cloned();
    operations.extend(uplinks.map(|name| Operation::RemoveUplink { name }));
    let wanted = desired.attachments();
    let attached = observed.attached.iter().filter(|attachment| {
        !wanted.contains(attachment) || fresh.veths.contains(attachment.interface.as_str())
    });
    operations.extend(attached.cloned().map(Operation::Detach));
    let veths = observed.veths.keys();
    let veths = veths
        .filter(|name| !desired.veths.contains_key(*name) || fresh.veths.contains(name.as_str()));
    operations.extend(veths.cloned().map(|name| Operation::DeleteVeth { name }));
    let ours = namespaces(desired);
    let foreign = observed.namespaces.iter();
    let foreign = foreign.filter(|path| !ours.contains(path));
    operations.extend(foreign.cloned().map(Operation::DeleteNamespace));
    let subnets = gone(&desired.subnets, &observed.subnets).copied();
    operations.extend(subnets.map(Operation::RemoveSubnet));
    let networks = gone(&desired.networks, &observed.networks).copied();
    operations.extend(networks.map(|index| Operation::RemoveNetwork { index }));
    let bridges = gone(&desired.bridges, &observed.bridges).cloned();
    operations.extend(bridges.map(|name| Operation::DeleteBridge { name }));
}

fn make_devices(
    desired: &Desired,
    observed: &Observed,
    fresh: &Fresh<'_>,
    operations: &mut Vec<Operation>,
) {
    let (on_veths, on_uplinks): (Vec<Attachment>, Vec<Attachment>) = desired
        .attachments()
        .into_iter()
        .filter(|wanted| {
            let again = fresh.veths.contains(wanted.interface.as_str());
            again || !observed.attached.contains(wanted)
        })
        .partition(|wanted| Hook::OF_ENDPOINT.contains(&wanted.hook));

    // Programs come before the entry of the uplink, which makes endpoints redirect to it. Egress, which translates, comes first.
    let (egress, ingress): (Vec<_>, Vec<_>) = on_uplinks
        .into_iter()
        .partition(|attachment| attachment.hook == Hook::UplinkEgress);
    operations.extend(egress.into_iter().chain(ingress).map(Operation::Attach));
    for (name, uplink) in differing(&desired.uplinks, &observed.uplinks) {
        operations.push(Operation::PutUplink {
            name: name.clone(),
            uplink: uplink.clone(),
        });
    }
    for (prefix, entry) in differing(&desired.subnets, &observed.subnets) {
        operations.push(Operation::PutSubnet {
            prefix: *prefix,
            entry: *entry,
        });
    }
    for (name, bridge) in &desired.bridges {
        let right = ObservedBridge::complete(bridge);
        if observed.bridges.get(name) != Some(&right) {
            operations.push(Operation::SetBridge {
                name: name.clone(),
                bridge: bridge.clone(),
            });
        }
    }
    for (index, entry) in &desired.networks {
        let again = fresh.bridges.contains(entry.bridge.as_str());
        if again || observed.networks.get(index) != Some(entry) {
            operations.push(Operation::PutNetwork {
                index: *index,
                entry: entry.clone(),
            });
        }
    }
    for namespace in &desired.namespaces {
        if !observed.namespaces.contains(&namespace.path) {
            operations.push(Operation::CreateNamespace(namespace.clone()));
        }
    }
    make_veths(desired, observed, fresh, on_veths, operations);
}

fn make_veths(
    desired: &Desired,
    observed: &Observed,
    fresh: &Fresh<'_>,
    attachments: Vec<Attachment>,
    operations: &mut Vec<Operation>,
) {
    for (name, veth) in &desired.veths {
        if fresh.veths.contains(name.as_str()) {
            operations.push(Operation::CreateVeth {
                name: name.clone(),
                veth: veth.clone(),
            });
        }
    }
    operations.extend(attachments.into_iter().map(Operation::Attach));
    let seen = |name: &String| {
        let seen = observed.veths.get(name);
        seen.filter(|_| !fresh.veths.contains(name.as_str()))
    };
    for (name, veth) in &desired.veths {
        let again = fresh.bridges.contains(veth.bridge.as_str());
        if again || seen(name).is_none_or(|seen| !seen.is_host_end_of(veth)) {
            operations.push(Operation::SetVeth {
                name: name.clone(),
                bridge: veth.bridge.clone(),
                mtu: veth.mtu,
            });
        }
    }
    for (name, veth) in &desired.veths {
        if seen(name).is_none_or(|seen| !seen.has_inside_of(veth)) {
            operations.push(Operation::SetInside {
                name: name.clone(),
                veth: veth.clone(),
            });
        }
    }
}

fn fill_maps(
    desired: &Desired,
    observed: &Observed,
    fresh: &Fresh<'_>,
    operations: &mut Vec<Operation>,
) {
    for (slot, entry) in &desired.endpoints {
        let again = fresh.veths.contains(entry.host_interface.as_str())
            || fresh.bridges.contains(entry.bridge.as_str());
        if again || observed.endpoints.get(slot) != Some(entry) {
            operations.push(Operation::PutEndpoint {
                slot: *slot,
                entry: entry.clone(),
            });
        }
    }
    let addresses = differing(&desired.addresses, &observed.addresses);
    let addresses: Vec<_> = addresses.map(|(ip, entry)| (*ip, *entry)).collect();
    operations.extend(unless_empty(addresses, Operation::PutAddresses));
    let allow: Vec<_> = desired.allow.difference(&observed.allow).copied().collect();
    operations.extend(unless_empty(allow, Operation::PutAllow));
    let ports = differing(&desired.ports, &observed.ports);
    let ports: Vec<_> = ports.map(|(key, entry)| (*key, *entry)).collect();
    operations.extend(unless_empty(ports, Operation::PutPorts));
}

impl ObservedVeth {
    fn is_host_end_of(&self, veth: &Veth) -> bool {
        self.up && self.mtu == veth.mtu && self.bridge.as_ref() == Some(&veth.bridge)
    }

    /// Both interfaces have the same MTU, so that of the host interface decides. A container interface that was not observed
    /// counts as correct.
    fn has_inside_of(&self, veth: &Veth) -> bool {
        let right = super::ObservedInside::complete(&veth.inside);
        self.mtu == veth.mtu && self.inside.as_ref().is_none_or(|inside| *inside == right)
    }
}

fn namespaces(desired: &Desired) -> BTreeSet<&PathBuf> {
    let namespaces = desired.namespaces.iter();
    namespaces.map(|namespace| &namespace.path).collect()
}

/// Keys of `observed` that are not in `desired`.
fn gone<'a, K: Ord, V, W>(
    desired: &'a BTreeMap<K, V>,
    observed: &'a BTreeMap<K, W>,
) -> impl Iterator<Item = &'a K> {
    observed.keys().filter(|key| !desired.contains_key(*key))
}

/// Entries of `desired` that are missing or different in `observed`.
fn differing<'a, K: Ord, V: PartialEq>(
    desired: &'a BTreeMap<K, V>,
    observed: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    desired
        .iter()
        .filter(|(key, value)| observed.get(*key) != Some(*value))
}

fn unless_empty<T>(
    items: Vec<T>,
    operation: impl FnOnce(Vec<T>) -> Operation,
) -> Option<Operation> {
    (!items.is_empty()).then(|| operation(items))
}
