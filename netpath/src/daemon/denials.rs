//! Removes the entries of the deny list that have expired. The programs ignore them from the moment of their expiry.

use std::time::Duration;

use crate::{
    commands::Commands,
    reconcile::{Datapath, Kernel},
};

/// Shortest wait before the next removal, and the resolution of the programs' clock.
const SHORTEST: Duration = Duration::from_millis(10);

/// Longest wait. It limits the delay of a removal if the timer of the wait and the clock of the programs differ.
const LONGEST: Duration = Duration::from_secs(60);

/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Runs until the daemon ends.
pub async fn run<K: Kernel, D: Datapath>(commands: Commands<K, D>) {
    let mut failing = false;
    loop {
        let wait = match commands.remove_expired_denials().await {
            Ok(next) => {
                failing = false;
                next.map_or(LONGEST, |next| next.clamp(SHORTEST, LONGEST))
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot remove expired entries of the deny list");
                }
                failing = true;
                RETRY
            }
        };
        tokio::select! {
            () = commands.wake().denials.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
