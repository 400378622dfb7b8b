//! What is there.

use std::collections::BTreeSet;

use super::{Depth, ReconcileError, Reconciler};
use crate::{
    kernel::netns,
    plan::{Attachment, Desired, Observed},
};

impl Reconciler {
    /// Looks at what either side of a change names, and at nothing else.
    pub(super) async fn observe_part(
        &mut self,
        before: &Desired,
        after: &Desired,
    ) -> Result<Observed, ReconcileError> {
        let mut observed = Observed::default();
        for name in union(before.bridges.keys(), after.bridges.keys()) {
            if let Some(bridge) = self.kernel.observe_bridge(name).await? {
                observed.bridges.insert(name.clone(), bridge);
            }
        }
        for namespace in before.namespaces.union(&after.namespaces) {
            if netns::inode(&namespace.path)?.is_some() {
                observed.namespaces.insert(namespace.path.clone());
            }
        }
        for name in union(before.veths.keys(), after.veths.keys()) {
            if let Some((index, mut veth)) = self.kernel.observe_veth(name).await? {
                if let Some(wanted) = after.veths.get(name) {
                    veth.inside = self.kernel.observe_inside(&wanted.netns, index).await?;
                }
                observed.veths.insert(name.clone(), veth);
            }
        }
        self.observe_attachments(
            before.attachments().union(&after.attachments()),
            &mut observed,
        )?;
        let tables = &self.datapath.tables;
        if !(before.uplinks.is_empty() && after.uplinks.is_empty()) {
            observed.uplinks = tables.uplinks()?;
        }
        if !(before.networks.is_empty() && after.networks.is_empty()) {
            let networks = tables.networks()?.into_iter();
            observed.networks = networks
                .filter(|(index, _)| {
                    before.networks.contains_key(index) || after.networks.contains_key(index)
                })
                .collect();
        }
        if !(before.subnets.is_empty() && after.subnets.is_empty()) {
            let subnets = tables.subnets()?.into_iter();
            observed.subnets = subnets
                .filter(|(prefix, _)| {
                    before.subnets.contains_key(prefix) || after.subnets.contains_key(prefix)
                })
                .collect();
        }
        for slot in union(before.endpoints.keys(), after.endpoints.keys()) {
            if let Some(entry) = tables.endpoint(*slot)? {
                observed.endpoints.insert(*slot, entry);
            }
        }
        for ip in union(before.addresses.keys(), after.addresses.keys()) {
            if let Some(entry) = tables.address(*ip)? {
                observed.addresses.insert(*ip, entry);
            }
        }
        for key in union(before.ports.keys(), after.ports.keys()) {
            if let Some(entry) = tables.port(key)? {
                observed.ports.insert(*key, entry);
            }
        }
        if !(before.allow.is_empty() && after.allow.is_empty()) {
            let named: BTreeSet<_> = before.allow.union(&after.allow).copied().collect();
            observed.allow = tables.allow()?.intersection(&named).copied().collect();
        }
        Ok(observed)
    }

    /// Looks at everything that is ours.
    pub(super) async fn observe_all(
        &mut self,
        desired: &Desired,
        depth: Depth,
    ) -> Result<Observed, ReconcileError> {
        let mut observed = Observed {
            bridges: self.kernel.observe_bridges().await?,
            namespaces: netns::list(&self.netns_dir)?.into_iter().collect(),
            ..Observed::default()
        };
        for (name, (index, mut veth)) in self.kernel.observe_veths().await? {
            if depth == Depth::Inside
                && let Some(wanted) = desired.veths.get(&name)
            {
                veth.inside = self.kernel.observe_inside(&wanted.netns, index).await?;
            }
            observed.veths.insert(name, veth);
        }
        let pinned: BTreeSet<Attachment> =
            self.datapath.pinned_attachments()?.into_iter().collect();
        self.observe_attachments(pinned.iter(), &mut observed)?;
        // A pin that holds no running program any more is to be taken away too, unless its place is wanted.
        let wanted = desired.attachments();
        observed
            .attached
            .extend(pinned.difference(&wanted).cloned());
        let tables = &self.datapath.tables;
        observed.uplinks = tables.uplinks()?;
        observed.networks = tables.networks()?;
        observed.endpoints = tables.endpoints()?;
        observed.addresses = tables.addresses()?;
        observed.subnets = tables.subnets()?;
        observed.ports = tables.ports()?;
        observed.allow = tables.allow()?;
        Ok(observed)
    }

    fn observe_attachments<'a>(
        &mut self,
        named: impl Iterator<Item = &'a Attachment>,
        observed: &mut Observed,
    ) -> Result<(), ReconcileError> {
        for attachment in named {
            if self.datapath.is_attached(attachment)? {
                observed.attached.insert(attachment.clone());
            }
        }
        Ok(())
    }
}

fn union<'a, T: Ord + 'a>(
    one: impl Iterator<Item = &'a T>,
    other: impl Iterator<Item = &'a T>,
) -> BTreeSet<&'a T> {
    one.chain(other).collect()
}
