//! Changes of the node: somebody deletes a device, an address comes by DHCP, a default route moves.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Shared, present};
use crate::{
    api::v1,
    kernel::{BRIDGE_PREFIX, Event, VETH_PREFIX, Watch},
    reconcile::Depth,
};

/// Events come in crowds; one look after the crowd is enough.
const SETTLE: Duration = Duration::from_millis(200);

/// A crowd that does not end is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks from time to time may take one part in so many of the time.
const SHARE: u32 = 100;

/// Watches until the daemon ends. Everything is looked at from time to time even without an event: nobody tells of a
/// map entry that was deleted.
pub async fn run(shared: Arc<Shared>, mut watch: Watch) {
    let period = shared.config.reconcile;
    let mut pause = period;
    loop {
        let due = tokio::time::sleep(pause);
        tokio::pin!(due);
        let mut latest: Option<Instant> = None;
        loop {
            tokio::select! {
                () = &mut due => break,
                () = shared.reconcile_now.notified() => break,
                event = watch.next() => match event {
                    Ok(event) if !concerns(&shared, &event).await => {}
                    Ok(_) => {
                        let now = Instant::now();
                        let latest = *latest.get_or_insert(now + PATIENCE);
                        due.as_mut().reset(latest.min(now + SETTLE));
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot watch the kernel; looking from time to time instead");
                        tokio::time::sleep(period).await;
                        break;
                    }
                },
            }
        }
        let began = Instant::now();
        reconcile(&shared).await;
        pause = period.max(began.elapsed() * SHARE);
    }
}

/// Whether an event tells of something that netpath did not do itself.
async fn concerns(shared: &Shared, event: &Event) -> bool {
    let Event::LinkChanged { name, gone, .. } = event else {
        return true;
    };
    let is_veth = name.starts_with(VETH_PREFIX);
    if !is_veth && !name.starts_with(BRIDGE_PREFIX) {
        return true;
    }
    // Our own devices come, and change, by our own hands. One that goes does so too if nothing wants it.
    let node = shared.node.lock().await;
    *gone
        && if is_veth {
            node.state.sandboxes().any(|sandbox| {
                sandbox
                    .endpoints
                    .iter()
                    .any(|endpoint| endpoint.host_interface() == *name)
            })
        } else {
            node.state
                .networks()
                .any(|network| network.has_endpoints() && network.bridge() == *name)
        }
}

async fn reconcile(shared: &Shared) {
    // A sandbox whose namespace went takes its devices along: that is no damage to be repaired.
    shared.sandboxes_changed.notify_one();
    let mut node = shared.node.lock().await;
    if node.torn_down {
        return;
    }
    let before = node.facts.facts.host_addresses.clone();
    match node.reconcile(Depth::Outside, &shared.config.uplinks).await {
        Ok(outcome) if outcome.operations.is_empty() => {}
        Ok(outcome) => {
            let text = outcome
                .operations
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            let name = shared.config.node.as_str();
            present::send(
                &shared.events,
                v1::Action::Repaired,
                v1::ObjectKind::Node,
                name,
                Some(text),
            );
        }
        Err(error) => tracing::error!(%error, "cannot compare the node with what is wanted"),
    }
    if before != node.facts.facts.host_addresses {
        shared.sweep_now.notify_one();
    }
}
