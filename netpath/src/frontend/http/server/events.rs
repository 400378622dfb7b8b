//! `GET /v1/events`: server-sent events, one JSON document each.

use std::convert::Infallible;

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use tokio::sync::broadcast::error::RecvError;

use super::shared::Shared;
use crate::frontend::http::{service::Service, v1};

fn sse(event: &v1::Event) -> Event {
    let sse = Event::default().event(event.action.to_string());
    sse.json_data(event)
        .unwrap_or_else(|error| Event::default().comment(error.to_string()))
}

/// Streams events until the client disconnects or the daemon stops. A comment reports events that were lost because
/// the client is slow.
pub(super) async fn stream<S: Service>(
    State(api): State<Shared<S>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let source = (api.service.events(), api.ended);
    let events = stream::unfold(source, |(mut events, mut ended)| async move {
        let event = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => sse(&event.into()),
                Err(RecvError::Lagged(lost)) => {
                    Event::default().comment(format!("{lost} events were lost"))
                }
                Err(RecvError::Closed) => return None,
            },
            _ = ended.wait_for(|ended| *ended) => return None,
        };
        Some((Ok(event), (events, ended)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
