//! Operations, carried out. Each is idempotent, and removing what is not there succeeds.

use std::net::IpAddr;

use super::{ReconcileError, Reconciler};
use crate::{
    kernel::{listeners, netns},
    plan::{Attachment, Hook, Operation, Uplink},
};

impl Reconciler {
    pub(super) async fn execute(&mut self, operation: &Operation) -> Result<(), ReconcileError> {
        self.carry_out(operation)
            .await
            .map_err(|source| ReconcileError::Operation {
                operation: operation.to_string(),
                source: Box::new(source),
            })
    }

    async fn carry_out(&mut self, operation: &Operation) -> Result<(), ReconcileError> {
        let tables = &mut self.datapath.tables;
        match operation {
            Operation::RemovePorts(keys) => tables.remove_ports(keys)?,
            Operation::RemoveAllow(entries) => tables.remove_allow(entries)?,
            Operation::RemoveAddresses(addresses) => {
                tables.remove_addresses(addresses)?;
                abort_connected(addresses);
            }
            Operation::RemoveEndpoint { slot } => tables.remove_endpoint(*slot)?,
            Operation::Detach(attachment) => self.datapath.detach(attachment)?,
            Operation::DeleteVeth { name } | Operation::DeleteBridge { name } => {
                self.kernel.delete_link(name).await?
            }
            Operation::DeleteNamespace(path) => netns::delete(path)?,
            Operation::RemoveSubnet(prefix) => tables.remove_subnet(*prefix)?,
            Operation::RemoveNetwork { index } => tables.remove_network(*index)?,
            Operation::RemoveUplink { name } => tables.remove_uplink(name)?,
            Operation::PutUplink { name, uplink } => self.put_uplink(name, uplink)?,
            Operation::Attach(attachment) => self.datapath.attach(attachment)?,
            Operation::PinMap { map } => self.datapath.pin_map(map)?,
            Operation::AttachSocket { program } => self.datapath.attach_socket(program)?,
            Operation::PutSubnet { prefix, entry } => tables.put_subnet(*prefix, *entry)?,
            Operation::PutNetwork { index, entry } => tables.put_network(*index, entry)?,
            Operation::SetBridge { name, bridge } => self.kernel.set_bridge(name, bridge).await?,
            Operation::CreateNamespace(namespace) => netns::create(&namespace.path)?,
            Operation::CreateVeth { name, veth } => self.kernel.create_veth(name, veth).await?,
            Operation::SetVeth { name, bridge, mtu } => {
                self.kernel.set_veth(name, bridge, *mtu).await?
            }
            Operation::SetInside { name, veth } => self.kernel.set_inside(name, veth).await?,
            Operation::PutEndpoint { slot, entry } => tables.put_endpoint(*slot, entry)?,
            Operation::PutAddresses(entries) => tables.put_addresses(entries)?,
            Operation::PutAllow(entries) => tables.put_allow(entries)?,
            Operation::PutPorts(entries) => self.datapath.publish(entries)?,
        }
        Ok(())
    }

    /// The programs send to an uplink as soon as it is known, so its own programs must be there.
    fn put_uplink(&mut self, name: &str, uplink: &Uplink) -> Result<(), ReconcileError> {
        for hook in [Hook::UplinkEgress, Hook::UplinkIngress] {
            let interface = name.to_owned();
            if !self.datapath.is_attached(&Attachment { interface, hook })? {
                return Err(ReconcileError::NotAttached {
                    uplink: name.to_owned(),
                    hook,
                });
            }
        }
        Ok(self.datapath.tables.put_uplink(name, uplink)?)
    }
}

/// Sockets of host processes that are connected to a sandbox which is gone get an error. They are no part of what is wanted:
/// a kernel that cannot do it is worth a word, not a failure.
fn abort_connected(addresses: &[IpAddr]) {
    match listeners::abort_connected(addresses) {
        Ok(0) => {}
        Ok(sockets) => tracing::info!(
            sockets,
            "UDP sockets connected to removed sandboxes got an error"
        ),
        Err(error) => tracing::warn!(%error, "UDP sockets stay connected to removed sandboxes"),
    }
}
