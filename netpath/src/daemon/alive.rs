//! Shows other nodes that this node is running, by a key that the store removes when it is not renewed.

use std::time::Duration;

use crate::{
    commands::Commands,
    reconcile::{Datapath, Kernel},
    store::HoldState,
};

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(3);

/// Runs until the daemon ends.
pub async fn run<K: Kernel, D: Datapath>(commands: Commands<K, D>) {
    let mut failed = false;
    loop {
        match commands.hold_name().await {
            Ok(mut hold) => {
                failed = false;
                while !matches!(hold.changed().await, HoldState::Taken(_)) {}
                tracing::error!("another node has the name of this one");
            }
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(%error, "cannot show other nodes that this node is running yet");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}
