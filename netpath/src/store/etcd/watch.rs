//! The watch of the keys of the store. It resumes by revision.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    link::{self, Link},
    wire::{self, Message, Watched},
};
use crate::store::{Event, RemoteError, RemoteProblem, Revision, remote::KEYS};

/// Time without a message after which the stream is opened again: the server may have stopped without closing it.
const IDLE: Duration = Duration::from_secs(30);
/// Shortest and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Largest message of a stream in bytes.
const LARGEST: usize = 64 << 20;

/// Why a stream has ended.
enum End {
    /// No message, or the server has closed it.
    Idle,
    /// The revision to resume from was compacted, or is later than the latest one.
    Lost,
    Failed(RemoteError),
}

/// Sends the changes of the store after a revision to the hub, until the task is cancelled. If the revision is 0, it is
/// not known, and the changes until the first response are lost.
pub async fn run(link: Arc<Link>, start: Revision) {
    // The revision up to which changes were sent.
    let mut seen = Some(start).filter(|start| *start > 0);
    let mut pause = PAUSE.0;
    loop {
        let result = match seen {
            Some(revision) => follow(&link, revision, &mut seen).await,
            None => restart(&link, &mut seen).await,
        };
        match result {
            End::Idle => pause = PAUSE.0,
            End::Lost => {
                seen = None;
                pause = PAUSE.0;
            }
            End::Failed(error) => {
                link.expires(&error);
                // The error is reported as the state of the store.
                let _ = link.client.note::<()>(Err(error));
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Reads the latest revision. What happened before is lost.
async fn restart(link: &Link, seen: &mut Option<Revision>) -> End {
    match link.range(&json!({ "key": wire::encoded(KEYS) })).await {
        Ok(range) => {
            let revision = range.header.revision;
            link.reset(revision);
            *seen = Some(revision);
            link.hub.lose();
            End::Idle
        }
        Err(error) => End::Failed(error),
    }
}

/// Follows the changes after a revision.
async fn follow(link: &Link, revision: Revision, seen: &mut Option<Revision>) -> End {
    const CALL: &str = "watch keys";
    let mut create = wire::with_prefix(KEYS);
    create["start_revision"] = json!((revision + 1).to_string());
    create["progress_notify"] = json!(true);
    let body = json!({ "create_request": create });
    let reply = match link.stream(CALL, "/v3/watch", &body).await {
        Ok(reply) => reply,
        Err(error) => return End::Failed(error),
    };
    let fail = |problem| {
        End::Failed(RemoteError {
            call: CALL,
            server: reply.server.clone(),
            problem,
            uncertain: false,
        })
    };
    let is_success = reply.status.is_success();
    let mut body = reply.body;
    let mut buffer = Vec::new();
    loop {
        let line = match timeout(IDLE, next_line(&mut body, &mut buffer)).await {
            Err(_) => return End::Idle,
            Ok(None) => {
                return fail(RemoteProblem::Unreachable(
                    "the stream has ended".to_owned(),
                ));
            }
            Ok(Some(line)) => line,
        };
        let watched = match parse(is_success, &line) {
            Ok(watched) => watched,
            Err(problem) => return fail(problem),
        };
        // The store was replaced by an earlier snapshot, or the revision was compacted.
        let lost = watched.created && watched.header.revision < revision;
        if lost || watched.compact_revision > 0 {
            return End::Lost;
        }
        if watched.canceled {
            let reason = "the watch was cancelled".to_owned();
            return fail(RemoteProblem::Unavailable(reason));
        }
        // Returns the same result.
        let _ = link.client.note(Ok(()));
        if !watched.created {
            send(link, watched, seen);
        }
    }
}

/// A message of the stream.
fn parse(is_success: bool, line: &[u8]) -> Result<Watched, RemoteProblem> {
    if !is_success {
        let failure = serde_json::from_slice(line).unwrap_or_default();
        return Err(link::problem(failure));
    }
    let message = serde_json::from_slice::<Message<Watched>>(line);
    let message = message.map_err(|error| RemoteProblem::Invalid(error.to_string()))?;
    match message.error {
        Some(failure) => Err(link::problem(failure)),
        None => Ok(message.result.unwrap_or_default()),
    }
}

fn send(link: &Link, watched: Watched, seen: &mut Option<Revision>) {
    // A message without changes states that all earlier ones were sent.
    let mut latest = match watched.events.is_empty() {
        true => watched.header.revision,
        false => 0,
    };
    for change in watched.events {
        latest = latest.max(change.kv.mod_revision);
        if let Some(key) = link::short(&change.kv.key) {
            link.hub.send_event(Event {
                key: key.to_owned(),
                value: (change.kind != "DELETE").then_some(change.kv.value),
                revision: change.kv.mod_revision,
            });
        }
    }
    *seen = (*seen).max(Some(latest));
}

/// The next line of a stream; `None` at its end.
async fn next_line(body: &mut Incoming, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let rest = buffer.split_off(end + 1);
            return Some(std::mem::replace(buffer, rest));
        }
        let frame = body.frame().await.and_then(Result::ok);
        match frame {
            Some(frame) if buffer.len() < LARGEST => {
                if let Some(data) = frame.data_ref() {
                    buffer.extend_from_slice(data);
                }
            }
            _ if buffer.is_empty() => return None,
            // An error without a line end.
            _ => return Some(std::mem::take(buffer)),
        }
    }
}
