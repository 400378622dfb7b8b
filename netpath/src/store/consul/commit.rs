//! Commits: one transaction that compares and writes the keys, and writes the last changes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    link::{Link, Position},
    wire::{self, CHANGES_KEY, Changes},
};
use crate::store::{Expected, RemoteError, RemoteProblem, Revision, StoreError, Write};

/// Limit of the time for which a commit is repeated because of other writers.
const LIMIT: Duration = Duration::from_secs(5);
const CALL: &str = "commit a change";

/// A write as an operation of a transaction.
struct Operation<'a> {
    write: &'a Write,
    operation: Value,
    /// Whether the operation changes the key.
    changes: bool,
    /// Whether its failure means that the key was changed since it was read, and not that the write is refused.
    repeats: bool,
}

/// Executes the writes. A commit of another writer at the same time makes the transaction fail, since both write the
/// last changes; it is repeated then.
pub async fn commit(link: &Link, writes: &[Write]) -> Result<Revision, StoreError> {
    let deadline = Instant::now() + LIMIT;
    let mut position = None;
    let mut pause = Duration::from_millis(1);
    loop {
        let schema = link.schema_check().await?;
        let before = match position.or_else(|| link.position()) {
            Some(position) => position,
            None => link.read_position().await?,
        };
        let mut operations = Vec::with_capacity(writes.len());
        for write in writes {
            operations.push(operation(link, write).await?);
        }
        match attempt(link, schema, &before, &operations).await? {
            Attempt::Done(revision) => return Ok(revision),
            Attempt::Conflict(write) => {
                let found = link.read(&wire::full(&write.key)).await?;
                write.check(found.map(|found| found.modify_index))?;
            }
            Attempt::Repeat => {}
        }
        if Instant::now() > deadline {
            let reason = "other nodes commit changes all the time".to_owned();
            return Err(link.error(CALL, RemoteProblem::Unavailable(reason)).into());
        }
        sleep(pause).await;
        // Different nodes wait for different times.
        let spread = u64::from(std::process::id() % 7);
        pause = (pause * 2).min(Duration::from_millis(50 + 10 * spread));
        position = Some(link.read_position().await?);
    }
}

enum Attempt<'a> {
    Done(Revision),
    /// The key of this write has another revision than expected.
    Conflict(&'a Write),
    /// Another writer was faster.
    Repeat,
}

async fn attempt<'a>(
    link: &Link,
    schema: Value,
    before: &Position,
    operations: &[Operation<'a>],
) -> Result<Attempt<'a>, RemoteError> {
    let changed = operations.iter().filter(|operation| operation.changes);
    let after = before
        .changes
        .with(changed.map(|operation| &operation.write.key));
    let unchanged = after.count == before.changes.count;
    let mut all = vec![schema];
    all.extend(
        operations
            .iter()
            .map(|operation| operation.operation.clone()),
    );
    all.push(match unchanged {
        true => wire::operation("get", CHANGES_KEY, json!({})),
        false => write_changes(before, &after),
    });
    let done = link.transaction(CALL, &all, false).await?;
    if done.errors.is_empty() {
        let last = done.keys().filter(|found| found.key == CHANGES_KEY).last();
        let Some(found) = last else {
            return Err(link.error(
                CALL,
                RemoteProblem::Invalid("a result is missing".to_owned()),
            ));
        };
        let index = found.modify_index;
        if !unchanged {
            link.note(&Position {
                index,
                changes: after,
            });
        }
        return Ok(Attempt::Done(index));
    }
    let failed = |index: usize| done.errors.iter().any(|error| error.op_index == index);
    if failed(0) {
        return Err(link.replaced(CALL));
    }
    let refused = operations
        .iter()
        .enumerate()
        .find(|(index, operation)| failed(index + 1) && !operation.repeats);
    if let Some((_, operation)) = refused {
        return Ok(Attempt::Conflict(operation.write));
    }
    let unexpected = |error: &&wire::Failure| error.op_index > operations.len() + 1;
    match done.errors.iter().find(unexpected) {
        Some(error) => Err(link.error(CALL, RemoteProblem::Refused(error.what.clone()))),
        None => Ok(Attempt::Repeat),
    }
}

fn write_changes(before: &Position, after: &Changes) -> Value {
    // Numbers and texts can always be written.
    let value = serde_json::to_vec(after).unwrap_or_default();
    let fields = json!({ "Index": before.index, "Value": wire::encoded(&value) });
    wire::operation("cas", CHANGES_KEY, fields)
}

async fn operation<'a>(link: &Link, write: &'a Write) -> Result<Operation<'a>, RemoteError> {
    let key = wire::full(&write.key);
    let made = |verb, fields, changes, repeats| Operation {
        write,
        operation: wire::operation(verb, &key, fields),
        changes,
        repeats,
    };
    let value = write.value.as_ref().map(|value| wire::encoded(value));
    Ok(match (value, write.expected) {
        (Some(value), Expected::Anything) => made("set", json!({ "Value": value }), true, false),
        (Some(value), Expected::Nothing) => {
            made("cas", json!({ "Value": value, "Index": 0 }), true, false)
        }
        // Index 0 would mean that the key does not exist.
        (_, Expected::Revision(0)) => made("check-index", json!({ "Index": 0 }), false, false),
        (Some(value), Expected::Revision(index)) => made(
            "cas",
            json!({ "Value": value, "Index": index }),
            true,
            false,
        ),
        (None, Expected::Nothing) => made("check-not-exists", json!({}), false, false),
        // `delete-cas` accepts a missing key. No commit deletes the key after this: the last changes would differ.
        (None, Expected::Revision(index)) => match link.read(&key).await? {
            Some(found) if found.modify_index == index => {
                made("delete-cas", json!({ "Index": index }), true, false)
            }
            _ => made("check-index", json!({ "Index": index }), false, false),
        },
        // The deletion of a missing key is no change.
        (None, Expected::Anything) => match link.read(&key).await? {
            Some(found) => made(
                "delete-cas",
                json!({ "Index": found.modify_index }),
                true,
                true,
            ),
            None => made("check-not-exists", json!({}), false, true),
        },
    })
}
