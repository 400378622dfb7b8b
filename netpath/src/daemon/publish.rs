//! Publishes the endpoints of this node, and repeats that until it succeeds.

use std::time::Duration;

use crate::{
    commands::Commands,
    reconcile::{Datapath, Kernel},
};

/// Pause after a change, so that several changes are one commit.
const COLLECT: Duration = Duration::from_millis(50);

/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Runs until the daemon ends.
pub async fn run<K: Kernel, D: Datapath>(commands: Commands<K, D>) {
    let mut pause = RETRY.0;
    loop {
        match commands.publish_endpoints().await {
            Ok(true) => {}
            Ok(false) => {
                pause = RETRY.0;
                commands.wake().publish.notified().await;
                tokio::time::sleep(COLLECT).await;
            }
            Err(error) => {
                if pause == RETRY.0 {
                    tracing::warn!(%error, "cannot publish endpoints to other nodes yet");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}
