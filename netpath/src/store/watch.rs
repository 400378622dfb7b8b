//! Watches of a store.

use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

use super::{Revision, Write};

/// Number of unread events of a watch; the oldest event is lost if there are more.
const CAPACITY: usize = 1024;

/// A key that was written or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Key.
    pub key: String,
    /// New value; `None` if it was deleted.
    pub value: Option<Vec<u8>>,
    /// Commit that wrote or deleted the key.
    pub revision: Revision,
}

/// Why a watch returns no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Events were lost; the watch continues with later ones.
    #[error("events of the store were lost; list it again")]
    Lagged,
    /// The store was closed.
    #[error("the store was closed; open it again")]
    Closed,
}

/// What a store sends to its watches.
#[derive(Clone, Debug)]
enum Message {
    Event(Event),
    /// Events were lost.
    Lost,
}

/// Changes of keys with a prefix. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    messages: Receiver<Message>,
    /// Events up to this commit precede the watch.
    after: Revision,
    /// Translates events; `None` for those that are omitted.
    translate: fn(Event) -> Option<Event>,
}

impl Watch {
    /// The same watch, with translated events. `prefix` is that of translated keys.
    pub(super) fn translated(self, prefix: &str, translate: fn(Event) -> Option<Event>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            translate,
            ..self
        }
    }

    /// Waits for the next change. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchError`] if changes were lost or the store was closed.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        loop {
            match self.messages.recv().await {
                Ok(Message::Event(event)) => {
                    if event.revision <= self.after {
                        continue;
                    }
                    let event = (self.translate)(event);
                    if let Some(event) = event.filter(|event| event.key.starts_with(&self.prefix)) {
                        return Ok(event);
                    }
                }
                Ok(Message::Lost) | Err(RecvError::Lagged(_)) => {
                    // After a reset of the store, its revisions may be lower.
                    self.after = 0;
                    return Err(WatchError::Lagged);
                }
                Err(RecvError::Closed) => return Err(WatchError::Closed),
            }
        }
    }
}

/// Sends the writes of a store to its watches.
#[derive(Debug)]
pub(super) struct Hub {
    messages: Sender<Message>,
}

impl Hub {
    pub fn watch(&self, prefix: &str) -> Watch {
        self.watch_after(prefix, 0)
    }

    /// A watch that ignores events up to `after`.
    pub fn watch_after(&self, prefix: &str, after: Revision) -> Watch {
        Watch {
            prefix: prefix.to_owned(),
            messages: self.messages.subscribe(),
            after,
            translate: Some,
        }
    }

    /// Sends one write to the watches. The caller holds a lock that preserves the order of commits.
    pub fn send(&self, write: &Write, revision: Revision) {
        self.send_event(Event {
            key: write.key.clone(),
            value: write.value.clone(),
            revision,
        });
    }

    pub fn send_event(&self, event: Event) {
        // Fails only if there is no watch.
        let _ = self.messages.send(Message::Event(event));
    }

    /// Tells the watches that events were lost.
    pub fn lose(&self) {
        let _ = self.messages.send(Message::Lost);
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            messages: Sender::new(CAPACITY),
        }
    }
}
