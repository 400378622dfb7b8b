//! The watch of the keys of the store: one query waits for the last changes, another one for the held keys, since
//! Consul itself removes those.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hyper::Method;
use tokio::time::sleep;

use super::{
    link::{Link, Position, lock},
    wire::{self, CHANGES_KEY, KeyValue},
};
use crate::store::{Event, HELD, RemoteError, Revision, remote::Exchange};

/// Time that the server waits for a change. A lower index than before, after a restored snapshot, is noticed then.
const WAIT: Duration = Duration::from_secs(10);
/// Consul adds up to a sixteenth of the time.
const MARGIN: Duration = Duration::from_secs(2);
/// Shortest and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Number of keys whose last sent revision is remembered.
const REMEMBERED: usize = 4096;

/// Sends the changes after a position to the hub, until the task is cancelled.
pub async fn run(link: Arc<Link>, start: Option<Position>) {
    let mut seen = start;
    let mut sent = BTreeMap::new();
    let mut pause = PAUSE.0;
    let mut failed = false;
    loop {
        // After a failure, a lower index than before is noticed at once.
        let index = |position: &Position| if failed { 0 } else { position.index };
        let result = match &seen {
            Some(position) => follow(&link, position, index(position), &mut sent).await,
            None => lost(&link).await,
        };
        match link.client.note(result) {
            Ok(position) => {
                failed = false;
                seen = position;
                pause = PAUSE.0;
            }
            Err(_) => {
                failed = true;
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Continues with the latest changes. What happened before is lost.
async fn lost(link: &Link) -> Result<Option<Position>, RemoteError> {
    link.schema().await?;
    let position = link.read_position().await?;
    link.reset(position.clone());
    link.hub.lose();
    Ok(Some(position))
}

/// Waits until the index is later than `index`, and sends the changes after a position. Returns the next position; `None` if changes are lost.
async fn follow(
    link: &Link,
    seen: &Position,
    index: Revision,
    sent: &mut BTreeMap<String, Revision>,
) -> Result<Option<Position>, RemoteError> {
    const CALL: &str = "wait for changes";
    let exchange = waiting(CALL, &wire::path(CHANGES_KEY), "", index);
    let found: Option<Vec<KeyValue>> = link.find(&exchange).await?.1;
    let Some(found) = found.and_then(|mut found| found.pop()) else {
        return Err(link.replaced(CALL));
    };
    let position = link.parsed(CALL, &found)?;
    if position.index < seen.index {
        return Ok(None);
    }
    let Some(keys) = position.changes.since(seen.changes.count) else {
        return Ok(None);
    };
    if sent.len() > REMEMBERED {
        sent.clear();
    }
    for key in keys {
        let found = link.read(&wire::full(key)).await?;
        let revision = found
            .as_ref()
            .map_or(position.index, |found| found.modify_index);
        // A later change of the key may have been read before.
        if found.is_some() && sent.get(key) == Some(&revision) {
            continue;
        }
        sent.insert(key.clone(), revision);
        link.hub.send_event(Event {
            key: key.clone(),
            value: found.map(|found| found.value),
            revision,
        });
    }
    link.note(&position);
    Ok(Some(position))
}

/// Sends the changes of held keys to the hub, until the task is cancelled.
pub async fn run_held(link: Arc<Link>, after: Revision) {
    let mut index = 0;
    let mut known: Option<BTreeMap<String, Revision>> = None;
    let mut pause = PAUSE.0;
    loop {
        let path = wire::path(&wire::full(HELD));
        let exchange = waiting("wait for held keys", &path, "recurse&", index);
        match link.find::<Vec<KeyValue>>(&exchange).await {
            Ok((latest, found)) => {
                // The first result is compared with what was listed before.
                let before = known.unwrap_or_else(|| {
                    let listed = std::mem::take(&mut *lock(&link.listed));
                    listed.into_iter().map(|key| (key, after)).collect()
                });
                known = Some(send_held(&link, before, found.unwrap_or_default(), latest));
                // Consul demands this if its index goes back.
                index = if latest < index { 0 } else { latest };
                pause = PAUSE.0;
            }
            // The other watch reports the error.
            Err(_) => {
                known = known.or_else(|| Some(BTreeMap::new()));
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Sends the differences of the held keys. Returns the present ones.
fn send_held(
    link: &Link,
    mut before: BTreeMap<String, Revision>,
    found: Vec<KeyValue>,
    latest: Revision,
) -> BTreeMap<String, Revision> {
    let mut present = BTreeMap::new();
    for entry in found {
        let Some(key) = wire::short(&entry.key).map(ToOwned::to_owned) else {
            continue;
        };
        let revision = entry.modify_index;
        if before.remove(&key).is_none_or(|known| known < revision) {
            link.hub.send_event(Event {
                key: key.clone(),
                value: Some(entry.value),
                revision,
            });
        }
        present.insert(key, revision);
    }
    for key in before.into_keys() {
        link.hub.send_event(Event {
            key,
            value: None,
            revision: latest,
        });
    }
    present
}

/// A query that waits until the index of its result is later than `index`.
fn waiting(call: &'static str, path: &str, options: &str, index: Revision) -> Exchange {
    let path = format!("{path}?{options}index={index}&wait={}s", WAIT.as_secs());
    Exchange {
        wait: WAIT + MARGIN,
        ..Exchange::new(call, Method::GET, path)
    }
}
