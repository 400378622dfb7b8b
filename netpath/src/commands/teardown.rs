//! Removal of netpath's kernel state.

use super::{CommandError, Commands};
use crate::{
    config::Config,
    datapath::attach,
    kernel::{BRIDGE_PREFIX, Kernel, VETH_PREFIX, netns},
};

impl Commands {
    /// Removes netpath's kernel state and stops the daemon. Networks remain in the store. Sandboxes whose namespace
    /// netpath has created lose it, and are removed from the store at the next start.
    ///
    /// # Errors
    /// The first removal that failed. The other removals are attempted too, and the daemon is stopped.
    pub async fn teardown(&self) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        node.torn_down = true;
        let removed = remove_kernel_state(&node.reconciler.kernel.kernel, self.config()).await;
        // A reconcile of a daemon that continues would create again what was removed.
        self.wake().end.notify_one();
        removed
    }
}

/// Removes netpath's devices, namespaces, programs and pins.
///
/// # Errors
/// The first removal that failed. The other removals are attempted too.
pub async fn remove_kernel_state(kernel: &Kernel, config: &Config) -> Result<(), CommandError> {
    let mut first_error = Ok(());
    let mut note = |result: Result<(), CommandError>| {
        if first_error.is_ok() {
            first_error = result;
        } else if let Err(error) = result {
            tracing::error!(%error, "teardown: a removal failed");
        }
    };
    // Devices are removed first: without the programs of the uplinks, packets with a private source could leave the
    // node.
    let links = kernel.links().await.unwrap_or_else(|error| {
        note(Err(error.into()));
        Vec::new()
    });
    for prefix in [VETH_PREFIX, BRIDGE_PREFIX] {
        let names = links.iter().map(|link| &link.name);
        let names: Vec<_> = names
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect();
        note(kernel.delete_links(&names).await.map_err(Into::into));
    }
    let netns_dir = config.run_dir.join("netns");
    match netns::entries(&netns_dir) {
        Ok(paths) => {
            for path in paths {
                note(netns::delete(&path).map_err(Into::into));
            }
        }
        Err(error) => note(Err(error.into())),
    }
    note(netns::delete_directory(&netns_dir).map_err(Into::into));
    note(netns::delete(&config.host_netns()).map_err(Into::into));
    note(attach::remove_all(&config.bpf_dir).map_err(Into::into));
    first_error
}
