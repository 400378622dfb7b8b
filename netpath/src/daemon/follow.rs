//! Applies changes that other writers make in the store.

use crate::{
    commands::Commands,
    reconcile::{Datapath, Kernel},
    store::{Revision, WatchError},
};

/// Runs until the daemon ends.
pub async fn run<K: Kernel, D: Datapath>(commands: Commands<K, D>) {
    let mut watch = commands.watch_store().await;
    // A commit after the state was loaded and before the watch started causes no event.
    let mut revision = Revision::MAX;
    loop {
        if let Err(error) = commands.follow_store(revision).await {
            tracing::error!(%error, "cannot apply a change of the store");
        }
        revision = match watch.next().await {
            Ok(event) => event.revision,
            // Events were lost, so the latest revision is unknown.
            Err(WatchError::Lagged) => Revision::MAX,
            Err(WatchError::Closed) => return,
        };
    }
}
