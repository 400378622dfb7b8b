//! Sandboxes whose process or namespace has ended.

use super::Node;
use crate::{
    kernel::{netns, process},
    model::{Id, Name, NetnsSource, ProcessId, Sandbox, State},
    reconcile::{Datapath, Kernel},
};

impl<K: Kernel, D: Datapath> Node<K, D> {
    /// Names of the sandboxes whose process or namespace has ended, and of the sandboxes that share their namespace. A
    /// sandbox comes after those that share its namespace.
    pub(super) fn ended_sandboxes(&self) -> Vec<Name> {
        let ended = self
            .state()
            .sandboxes()
            .filter(|sandbox| has_ended(sandbox));
        sharers_first(self.state(), ended.map(|sandbox| &sandbox.name))
    }

    /// Processes of sandboxes. A sandbox is removed when its process ends.
    pub(super) fn watched_processes(&self) -> Vec<(Id, ProcessId)> {
        let sandboxes = self.state().sandboxes();
        let pairs =
            sandboxes.flat_map(|sandbox| processes(sandbox).map(|process| (sandbox.id, process)));
        pairs.collect()
    }

    /// Removes sandboxes that ended while no daemon ran, from the store only. The first reconcile removes their
    /// devices. If the store cannot be written, they are removed when it can.
    pub fn forget_ended(&mut self) {
        for name in self.ended_sandboxes() {
            let Ok(change) = self.state().remove_sandbox(&name) else {
                continue;
            };
            match self.record(&change) {
                Ok(()) => tracing::info!(sandbox = %name, "ended while the daemon was down"),
                Err(error) => {
                    if self.failures.note_failure(name.as_str()) {
                        tracing::warn!(sandbox = %name, %error, "cannot remove a sandbox that has ended");
                    }
                }
            }
        }
    }
}

/// Whether the process or the namespace of a sandbox has ended; false if that cannot be determined.
fn has_ended(sandbox: &Sandbox) -> bool {
    if processes(sandbox).any(|process| matches!(process::alive(process), Ok(false))) {
        return true;
    }
    match sandbox.source {
        NetnsSource::Created => matches!(netns::inode(&sandbox.netns), Ok(None)),
        NetnsSource::Path { namespace } => match netns::id(&sandbox.netns) {
            Ok(found) => found.is_none_or(|found| !namespace.is(&found)),
            Err(_) => false,
        },
        // Start times of processes are counted from the boot of the machine.
        NetnsSource::Process { namespace, .. } => {
            namespace.boot != 0 && netns::boot().is_ok_and(|boot| boot != namespace.boot)
        }
        NetnsSource::Shared => false,
    }
}

fn sharers_first<'a>(state: &State, ended: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    let mut order: Vec<Name> = Vec::new();
    for name in ended {
        for name in state.sharers(name).chain([name]) {
            if !order.contains(name) {
                order.push(name.clone());
            }
        }
    }
    order
}

/// The process that netpath has started in the sandbox, or that the request to create it has named; `None` if it does
/// not run.
pub(super) fn running_process(sandbox: &Sandbox) -> Option<ProcessId> {
    sandbox
        .process
        .filter(|process| matches!(process::alive(*process), Ok(true)))
}

/// PID of the process of a sandbox: that of [`running_process`], or of the process whose namespace was adopted; `None`
/// if neither runs.
pub(super) fn process_number(sandbox: &Sandbox) -> Option<i32> {
    let mut alive =
        processes(sandbox).filter(|process| matches!(process::alive(*process), Ok(true)));
    alive.next().map(|process| process.pid)
}

fn processes(sandbox: &Sandbox) -> impl Iterator<Item = ProcessId> {
    let adopted = match sandbox.source {
        NetnsSource::Process { process, .. } => Some(process),
        _ => None,
    };
    sandbox.process.into_iter().chain(adopted)
}
