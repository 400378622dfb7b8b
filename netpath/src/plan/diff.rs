//! The planner: compares the desired with the observed state.
//!
//! Removals: first map entries, then programs, then devices. Creations: entries that refer to a device come after it. The
//! programs of interfaces and the entries of [`Order::BeforeDevices`] come before all devices. So no packet is forwarded by an
//! incomplete configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use ipnet::IpNet;

use super::{
    Attachment, Desired, Hook, Observed, ObservedBridge, ObservedVeth, Operation, UsedRoute, Veth,
    tables::{Entries, Entry as _, Order, Table, for_each_table},
};

/// Operations that turn the observed into the desired state, in the order of execution.
///
/// First the move of default routes away from endpoints that may be removed, then every removal, in the order of the
/// variants of [`Operation`]. Then the creations: programs of interfaces, entries of [`Order::BeforeDevices`], bridges,
/// namespaces, veth pairs with their programs, entries of [`Order::AfterDevices`].
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Operation> {
    let fresh = Fresh::of(desired, observed);
    let attachments = desired.attachments();
    let mut operations = move_gateways(desired, observed);
    operations.extend(remove_entries(desired, observed));
    detach(&attachments, observed, &fresh, &mut operations);
    remove_devices(desired, observed, &fresh, &mut operations);
    attach_interfaces(&attachments, observed, &mut operations);
    operations.extend(put_entries(Order::BeforeDevices, desired, observed, &fresh));
    make_devices(desired, observed, &mut operations);
    make_veths(desired, observed, &fresh, &attachments, &mut operations);
    operations.extend(put_entries(Order::AfterDevices, desired, observed, &fresh));
    operations
}

/// Devices to create. Entries that hold the interface index of one of them must be written again.
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

    fn contains(&self, interface: &str) -> bool {
        self.bridges.contains(interface) || self.veths.contains(interface)
    }
}

/// Removals from every table, in the reverse order of the list.
fn remove_entries(desired: &Desired, observed: &Observed) -> Vec<Operation> {
    let endpoints = removed(&desired.entries.endpoints, &observed.entries.endpoints);
    let slots: BTreeSet<u32> = endpoints.copied().collect();
    let mut tables = Vec::new();
    macro_rules! remove {
        ($($field:ident: $Table:ident($Entry:ty),)+) => {
            $(tables.push(removals::<$Entry>(&desired.entries, &observed.entries, &slots));)+
        };
    }
    for_each_table!(remove);
    tables.into_iter().rev().flatten().collect()
}

/// Removals of entries that are not desired, or that refer to a removed endpoint, whose slot is in `slots`.
fn removals<E: Table>(
    desired: &Entries,
    observed: &Entries,
    slots: &BTreeSet<u32>,
) -> Vec<Operation> {
    let entries = E::of(observed).iter().filter(|(key, entry)| {
        let dangling = entry.endpoint().is_some_and(|slot| slots.contains(&slot));
        !E::of(desired).contains_key(key) || dangling
    });
    let keys = entries.map(|(key, _)| key.clone()).collect();
    operations(keys, E::BATCHED, E::remove)
}

/// Additions to every table with this order.
fn put_entries(
    order: Order,
    desired: &Desired,
    observed: &Observed,
    fresh: &Fresh<'_>,
) -> Vec<Operation> {
    let mut operations = Vec::new();
    macro_rules! put {
        ($($field:ident: $Table:ident($Entry:ty),)+) => {
            $(if <$Entry>::ORDER == order {
                operations.extend(additions::<$Entry>(&desired.entries, &observed.entries, fresh));
            })+
        };
    }
    for_each_table!(put);
    operations
}

/// Additions of entries that are missing or different, or that hold the index of a device to create.
fn additions<E: Table>(desired: &Entries, observed: &Entries, fresh: &Fresh<'_>) -> Vec<Operation> {
    let entries = E::of(desired).iter().filter(|(key, entry)| {
        let mut interfaces = entry.interfaces().into_iter();
        E::of(observed).get(key) != Some(*entry) || interfaces.any(|name| fresh.contains(name))
    });
    let entries = entries.map(|(key, entry)| (key.clone(), entry.clone()));
    operations(entries.collect(), E::BATCHED, E::put)
}

/// One operation for all items, or one for each item, whose failure does not affect the others.
fn operations<T>(
    items: Vec<T>,
    batched: bool,
    operation: impl Fn(Vec<T>) -> Operation,
) -> Vec<Operation> {
    if items.is_empty() {
        return Vec::new();
    }
    if batched {
        return vec![operation(items)];
    }
    let items = items.into_iter();
    items.map(|item| operation(vec![item])).collect()
}

/// Detaches programs, after the removal of the entries of their interfaces: no endpoint redirects to an interface
/// without programs.
fn detach(
    wanted: &BTreeSet<Attachment>,
    observed: &Observed,
    fresh: &Fresh<'_>,
    operations: &mut Vec<Operation>,
) {
    let attached = observed.attached.iter().filter(|attachment| {
        !wanted.contains(attachment) || fresh.veths.contains(attachment.interface.as_str())
    });
    operations.extend(attached.cloned().map(Operation::Detach));
}

fn remove_devices(
    desired: &Desired,
    observed: &Observed,
    fresh: &Fresh<'_>,
    operations: &mut Vec<Operation>,
) {
    let veths = observed.veths.keys();
    let veths = veths
        .filter(|name| !desired.veths.contains_key(*name) || fresh.veths.contains(name.as_str()));
    operations.extend(veths.cloned().map(|name| Operation::DeleteVeth { name }));
    let ours = namespaces(desired);
    let foreign = observed.namespaces.union(&observed.left_over);
    let foreign = foreign.filter(|path| !ours.contains(path));
    operations.extend(foreign.cloned().map(Operation::DeleteNamespace));
    let bridges = removed(&desired.bridges, &observed.bridges).cloned();
    operations.extend(bridges.map(|name| Operation::DeleteBridge { name }));
}

/// Attaches the programs of interfaces. Their entries, which make endpoints redirect to them, come later.
fn attach_interfaces(
    wanted: &BTreeSet<Attachment>,
    observed: &Observed,
    operations: &mut Vec<Operation>,
) {
    let missing = wanted.difference(&observed.attached).cloned();
    let (egress, ingress): (Vec<_>, Vec<_>) = missing
        .filter(|attachment| !Hook::OF_ENDPOINT.contains(&attachment.hook))
        .partition(|attachment| attachment.hook == Hook::UplinkEgress);
    // Egress, which translates, comes first.
    operations.extend(egress.into_iter().chain(ingress).map(Operation::Attach));
}

fn make_devices(desired: &Desired, observed: &Observed, operations: &mut Vec<Operation>) {
    for (name, bridge) in &desired.bridges {
        let right = ObservedBridge::complete(bridge);
        if observed.bridges.get(name) != Some(&right) {
            operations.push(Operation::SetBridge {
                name: name.clone(),
                bridge: bridge.clone(),
            });
        }
    }
    for namespace in &desired.namespaces {
        if !observed.namespaces.contains(&namespace.path) {
            operations.push(Operation::CreateNamespace(namespace.clone()));
        }
    }
}

fn make_veths(
    desired: &Desired,
    observed: &Observed,
    fresh: &Fresh<'_>,
    wanted: &BTreeSet<Attachment>,
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
    let attachments = wanted.iter().filter(|attachment| {
        let missing = !observed.attached.contains(attachment);
        let again = fresh.veths.contains(attachment.interface.as_str());
        Hook::OF_ENDPOINT.contains(&attachment.hook) && (missing || again)
    });
    operations.extend(attachments.cloned().map(Operation::Attach));
    let seen = |name: &String| {
        let seen = observed.veths.get(name);
        seen.filter(|_| !fresh.veths.contains(name.as_str()))
    };
    for (name, veth) in &desired.veths {
        if seen(name).is_some_and(|seen| seen.configured && seen.has_old_mtu(veth)) {
            operations.push(Operation::SetInsideMtu {
                name: name.clone(),
                veth: veth.clone(),
            });
        }
        let again = fresh.bridges.contains(veth.bridge.as_str());
        if again || seen(name).is_none_or(|seen| !seen.is_host_end_of(veth)) {
            operations.push(Operation::SetVeth {
                name: name.clone(),
                bridge: veth.bridge.clone(),
                mtu: veth.mtu,
                rate: veth.rate,
            });
        }
    }
    for (name, veth) in &desired.veths {
        match seen(name).filter(|seen| seen.configured) {
            None => operations.push(Operation::SetInside {
                name: name.clone(),
                veth: veth.clone(),
                first: desired.first_veths.contains(name),
            }),
            Some(seen) => operations.extend(restore_inside(name, veth, seen)),
        }
    }
}

/// Moves netpath's default routes to the endpoints that are to have them. Only if it is netpath's route that the sandbox
/// uses: the workload may have removed it, or set another one.
fn move_gateways(desired: &Desired, observed: &Observed) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (name, veth) in &desired.veths {
        let seen = observed.veths.get(name).filter(|seen| seen.configured);
        let Some(inside) = seen.and_then(|seen| seen.inside.as_ref()) else {
            continue;
        };
        let elsewhere = veth.inside.gateways.iter().filter(|gateway| {
            !inside.gateways.contains(*gateway) && inside.used(**gateway) == UsedRoute::Own
        });
        operations.extend(elsewhere.map(|gateway| Operation::MoveGateway {
            name: name.clone(),
            veth: veth.clone(),
            gateway: *gateway,
        }));
    }
    operations
}

/// Adds the addresses that are on no device of the namespace. The kernel removes the routes over a device with its last
/// address, so the default route is added with the address. What the workload has changed stays: a link that is down or a
/// port of a bridge, disabled IPv6, a missing default route.
fn restore_inside(name: &str, veth: &Veth, seen: &ObservedVeth) -> Option<Operation> {
    let inside = seen.inside.as_ref().filter(|inside| inside.in_use)?;
    let addresses = veth.inside.addresses.iter().filter(|net| {
        let usable = inside.ipv6 || net.addr().is_ipv4();
        usable && !inside.addresses.contains(&net.addr())
    });
    let addresses: BTreeSet<IpNet> = addresses.copied().collect();
    let gateways = veth.inside.gateways.iter().filter(|gateway| {
        let mut restored = addresses.iter();
        restored.any(|net| net.addr().is_ipv4() == gateway.is_ipv4())
    });
    (!addresses.is_empty()).then(|| Operation::RestoreInside {
        name: name.to_owned(),
        veth: veth.clone(),
        gateways: gateways.copied().collect(),
        addresses: addresses.clone(),
    })
}

impl ObservedVeth {
    fn is_host_end_of(&self, veth: &Veth) -> bool {
        let bridge = self.bridge.as_ref();
        (self.up, self.mtu, self.rate, bridge) == (true, veth.mtu, veth.rate, Some(&veth.bridge))
    }

    /// Whether the container link still has the MTU of the host interface, and that MTU changes. Another MTU was set by the
    /// workload.
    fn has_old_mtu(&self, veth: &Veth) -> bool {
        let inside = self.inside.as_ref();
        self.mtu != veth.mtu && inside.is_some_and(|inside| inside.mtu == self.mtu)
    }
}

fn namespaces(desired: &Desired) -> BTreeSet<&PathBuf> {
    let namespaces = desired.namespaces.iter();
    namespaces.map(|namespace| &namespace.path).collect()
}

/// Keys of `observed` that are not in `desired`.
fn removed<'a, K: Ord, V, W>(
    desired: &'a BTreeMap<K, V>,
    observed: &'a BTreeMap<K, W>,
) -> impl Iterator<Item = &'a K> {
    observed.keys().filter(|key| !desired.contains_key(*key))
}
