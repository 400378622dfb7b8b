//! How the node does.

use super::{DaemonError, node::Node};
use crate::{
    api::v1,
    config::Config,
    datapath::{attach, dump},
    plan::Desired,
};

/// Share of a map from which on it is worth a word, in percent.
const FULL: u64 = 80;

/// Looks at programs and maps as they are now.
///
/// # Errors
/// If pins cannot be read.
pub fn of(node: &mut Node, config: &Config) -> Result<v1::Status, DaemonError> {
    let maps = dump::list(&config.bpf_dir).unwrap_or_default();
    node.watch_exhaustion(&config.bpf_dir);
    let desired = Desired::of_state(&node.state, &node.facts.facts);
    let mut programs = Vec::new();
    for attachment in desired.attachments() {
        programs.push(v1::Program {
            name: attachment.hook.to_string(),
            hook: attachment.hook.to_string(),
            attached: node.reconciler.datapath.is_attached(&attachment)?,
            interface: Some(attachment.interface),
            mode: Some(node.reconciler.datapath.mode().name().to_owned()),
        });
    }
    let missing = node.reconciler.datapath.missing_sockets()?;
    programs.extend(attach::socket_programs().map(|name| v1::Program {
        name: name.to_owned(),
        hook: format!("cgroup-{name}"),
        interface: None,
        attached: !missing.contains(&name),
        mode: Some("cgroup".to_owned()),
    }));
    let mut degraded = node.facts.degraded.clone();
    degraded.extend(node.troubles.values().cloned());
    let detached = programs.iter().filter(|program| !program.attached);
    degraded.extend(detached.map(|program| {
        format!(
            "program {} is not attached to {}",
            program.name,
            program.interface.as_deref().unwrap_or("the cgroup")
        )
    }));
    let pressed = maps
        .iter()
        .filter(|map| !map.kind.contains("array") && map.kind != "lru_hash");
    degraded.extend(
        pressed
            .filter(|map| map.entries * 100 >= map.max_entries * FULL)
            .map(|map| {
                format!(
                    "map {} is filled to {} of {}",
                    map.name, map.entries, map.max_entries
                )
            }),
    );
    let (flows, timers) = dump::limits_of(&node.reconciler.datapath.tables, &maps)?;
    let failed = node.last.as_ref().is_none_or(|last| last.failed > 0);
    Ok(v1::Status {
        node: config.node.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: !failed && programs.iter().all(|program| program.attached),
        uplinks: node.facts.facts.uplinks.keys().cloned().collect(),
        store: v1::Store {
            kind: node.store.kind().to_owned(),
            reachable: node.store.list("meta/").is_ok(),
        },
        programs,
        flows: Some(flows),
        timers,
        maps,
        degraded,
        last_reconcile: node.last.as_ref().map(|last| v1::Reconcile {
            age_s: last.ended.elapsed().as_secs(),
            duration_ms: u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX),
            operations: last.operations as u64,
            failed: last.failed as u64,
        }),
        features: node
            .reconciler
            .datapath
            .features()
            .list()
            .map(|(name, known, _)| (name.to_owned(), known))
            .into(),
    })
}
