//! Everything out of the kernel again.

use std::{fs, io, path::Path};

use super::{
    DaemonError,
    lock::{self, file_error},
    node::Node,
};
use crate::{
    config::{Config, PINS_LINK},
    datapath::attach,
    kernel::{BRIDGE_PREFIX, Kernel, VETH_PREFIX, netns},
};

/// Removes everything that a running daemon's node has in the kernel. Networks stay in the store; sandboxes have lost
/// their namespaces and go with the next start.
///
/// # Errors
/// The first thing that could not be removed; the rest is removed all the same.
pub async fn of_node(node: &mut Node, config: &Config) -> Result<(), DaemonError> {
    node.torn_down = true;
    remove(&node.reconciler.kernel, config).await
}

/// Removes everything without a daemon.
///
/// # Errors
/// If a daemon runs, or the first thing that could not be removed; the rest is removed all the same.
pub async fn teardown_forced(config: &Config) -> Result<(), DaemonError> {
    let lock = lock::take(&config.run_dir)?;
    let kernel = Kernel::open()?;
    remove(&kernel, config).await?;
    drop(lock);
    remove_run_dir(&config.run_dir)
}

async fn remove(kernel: &Kernel, config: &Config) -> Result<(), DaemonError> {
    let mut first_error = Ok(());
    let mut note = |result: Result<(), DaemonError>| {
        if first_error.is_ok() {
            first_error = result;
        } else if let Err(error) = result {
            tracing::error!(%error, "teardown");
        }
    };
    // Sandboxes lose their devices before the programs at the uplinks go: no private source leaves in between.
    let links = kernel.links().await?;
    let names = |prefix: &str| -> Vec<String> {
        links
            .iter()
            .filter(|link| link.name.starts_with(prefix))
            .map(|link| link.name.clone())
            .collect()
    };
    note(
        kernel
            .delete_links(&names(VETH_PREFIX))
            .await
            .map_err(DaemonError::from),
    );
    note(
        kernel
            .delete_links(&names(BRIDGE_PREFIX))
            .await
            .map_err(DaemonError::from),
    );
    let netns_dir = config.run_dir.join("netns");
    for path in netns::list(&netns_dir)? {
        note(netns::delete(&path).map_err(DaemonError::from));
    }
    note(netns::delete_directory(&netns_dir).map_err(DaemonError::from));
    note(attach::remove_all(&config.bpf_dir).map_err(DaemonError::from));
    first_error
}

/// Removes the run directory with the lock and the socket; one that holds something else stays.
pub(super) fn remove_run_dir(run_dir: &Path) -> Result<(), DaemonError> {
    for name in ["lock", "netpath.sock", PINS_LINK] {
        match fs::remove_file(run_dir.join(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(file_error("remove", &run_dir.join(name), source));
            }
            _ => {}
        }
    }
    match fs::remove_dir(run_dir) {
        // systemd's, or a mount point, or somebody else's files: not ours to remove.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOTEMPTY | libc::EBUSY | libc::ENOENT | libc::EACCES)
            ) =>
        {
            Ok(())
        }
        Err(source) => Err(file_error("remove", run_dir, source)),
        Ok(()) => Ok(()),
    }
}
