//! Tells front ends for container engines that devices have changed. It has a socket of its own, because a reconcile delays
//! the events of [`super::resync`].

use crate::{
    commands::Commands,
    kernel::{Event, Watch, is_own_device},
};

/// Runs until the daemon ends.
pub async fn run(commands: Commands, mut watch: Watch) {
    loop {
        match watch.next().await {
            Ok(Event::LinkChanged { name, .. }) if is_own_device(&name) => {}
            Ok(Event::LinkChanged { .. } | Event::Lost) => commands.wake().links.notify_one(),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "cannot receive kernel events; devices of container engines are found periodically");
                tokio::time::sleep(commands.config().reconcile).await;
                commands.wake().links.notify_one();
            }
        }
    }
}
