//! Applies changes that other writers make in the store.

use crate::{
    commands::Commands,
    store::{Revision, WatchError},
};

/// Runs until the daemon ends.
pub async fn run(commands: Commands) {
    let mut watch = commands.watch_store().await;
    loop {
        let revision = match watch.next().await {
            Ok(event) => event.revision,
            // Events were lost: the state may be older than any revision.
            Err(WatchError::Lagged) => Revision::MAX,
            Err(WatchError::Closed) => return,
        };
        if let Err(error) = commands.follow_store(revision).await {
            tracing::error!(%error, "cannot apply a change of the store");
        }
    }
}
