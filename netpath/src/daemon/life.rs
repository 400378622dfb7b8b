//! Sandboxes end with their process or namespace.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{Shared, present};
use crate::{
    api::v1,
    kernel::{netns, process},
    model::{Change, Id, Name, NetnsSource, ProcessId, Sandbox, State},
};

/// How often namespaces are looked at. A process that ends is noticed at once.
const PERIOD: Duration = Duration::from_secs(2);

/// After a look, so many times its length pass before the next: the more there is to look at, the rarer.
const PAUSE: u32 = 20;

/// Watches until the daemon ends.
pub async fn run(shared: Arc<Shared>) {
    let mut watched: HashMap<(Id, ProcessId), JoinHandle<()>> = HashMap::new();
    loop {
        let began = Instant::now();
        let processes = remove_the_gone(&shared).await;
        watched.retain(|key, task| {
            let keep = processes.contains(key) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for key in processes {
            watched.entry(key).or_insert_with(|| {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Err(error) = process::wait_gone(key.1).await {
                        tracing::warn!(pid = key.1.pid, %error, "cannot wait for a process; it is looked at from time to time");
                    }
                    shared.sandboxes_changed.notify_one();
                })
            });
        }
        tokio::time::sleep((began.elapsed() * PAUSE).min(PERIOD)).await;
        tokio::select! {
            () = shared.sandboxes_changed.notified() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Removes every sandbox that has lost its process or namespace; gives the processes of the others.
async fn remove_the_gone(shared: &Shared) -> Vec<(Id, ProcessId)> {
    let mut node = shared.node.lock().await;
    if node.torn_down {
        return Vec::new();
    }
    let gone: Vec<Name> = node
        .state
        .sandboxes()
        .filter(|sandbox| is_gone(sandbox))
        .map(|sandbox| sandbox.name.clone())
        .collect();
    let mut removed = false;
    for name in sharers_first(&node.state, gone) {
        match node.request(|state, _| state.remove_sandbox(&name)).await {
            Ok(Change::Sandbox { .. }) => {
                removed = true;
                let message = Some("its process or namespace has gone".to_owned());
                present::send(
                    &shared.events,
                    v1::Action::Removed,
                    v1::ObjectKind::Sandbox,
                    name.as_str(),
                    message,
                );
            }
            Ok(Change::Network { .. }) => {}
            Err(error) => {
                tracing::warn!(sandbox = %name, %error, "cannot remove a sandbox that is gone")
            }
        }
    }
    if removed {
        shared.sweep_now.notify_one();
    }
    node.state
        .sandboxes()
        .flat_map(|sandbox| processes(sandbox).map(|process| (sandbox.id, process)))
        .collect()
}

/// Whether a sandbox's process or namespace has gone. What cannot be looked at counts as there.
pub(super) fn is_gone(sandbox: &Sandbox) -> bool {
    if processes(sandbox).any(|process| matches!(process::alive(process), Ok(false))) {
        return true;
    }
    let expected = match sandbox.source {
        NetnsSource::Created => None,
        NetnsSource::Path { inode } => Some(inode),
        NetnsSource::Process { .. } | NetnsSource::Shared => return false,
    };
    match netns::inode(&sandbox.netns) {
        Ok(Some(found)) => expected.is_some_and(|expected| expected != found),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// The same sandboxes with those that use another one's namespace before that one, and with all users of a gone one.
pub(super) fn sharers_first(state: &State, gone: Vec<Name>) -> Vec<Name> {
    let mut order: Vec<Name> = Vec::new();
    for name in gone {
        let sharers: Vec<Name> = state.sharers(&name).cloned().collect();
        for name in sharers.into_iter().chain([name]) {
            if !order.contains(&name) {
                order.push(name);
            }
        }
    }
    order
}

fn processes(sandbox: &Sandbox) -> impl Iterator<Item = ProcessId> {
    let adopted = match sandbox.source {
        NetnsSource::Process { process, .. } => Some(process),
        _ => None,
    };
    sandbox.owner.into_iter().chain(adopted)
}
