//! Applies changes that other writers make in the store.

use crate::{
    commands::{CommandError, Commands},
    reconcile::{Datapath, Kernel},
    store::{Event, Revision, WatchError, objects::LOCAL},
};

/// Runs until the daemon ends.
pub async fn run<K: Kernel, D: Datapath>(commands: Commands<K, D>) {
    let mut watch = commands.watch_store().await;
    // A commit after the state was loaded and before the watch started causes no event.
    let mut event = None;
    loop {
        if let Err(error) = follow(&commands, event.as_ref()).await {
            tracing::error!(%error, "cannot apply a change of the store");
        }
        event = match watch.next().await {
            Ok(event) => Some(event),
            // Events were lost, so the changed keys are unknown.
            Err(WatchError::Lagged) => None,
            Err(WatchError::Closed) => return,
        };
    }
}

/// Applies the change of an event, or every change if there is none.
async fn follow<K: Kernel, D: Datapath>(
    commands: &Commands<K, D>,
    event: Option<&Event>,
) -> Result<(), CommandError> {
    let is_local = event.map(|event| event.key.starts_with(LOCAL));
    if is_local != Some(false) {
        let revision = event.map_or(Revision::MAX, |event| event.revision);
        commands.follow_store(revision).await?;
    }
    if is_local != Some(true) {
        let key = event.map(|event| event.key.as_str());
        commands.follow_cluster(key).await?;
    }
    Ok(())
}
