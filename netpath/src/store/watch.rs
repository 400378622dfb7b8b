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
    #[error("the store changed faster than the watch was read; list it again")]
    Lagged,
    /// The store was closed.
    #[error("the store was closed; open it again")]
    Closed,
}

/// Changes of keys with a prefix. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    events: Receiver<Event>,
}

impl Watch {
    /// Waits for the next change. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchError`] if changes were lost or the store was closed.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        loop {
            match self.events.recv().await {
                Ok(event) if event.key.starts_with(&self.prefix) => return Ok(event),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Err(WatchError::Lagged),
                Err(RecvError::Closed) => return Err(WatchError::Closed),
            }
        }
    }
}

/// Sends the writes of a store to its watches.
#[derive(Debug)]
pub(super) struct Hub {
    events: Sender<Event>,
}

impl Hub {
    pub fn watch(&self, prefix: &str) -> Watch {
        Watch {
            prefix: prefix.to_owned(),
            events: self.events.subscribe(),
        }
    }

    /// Sends one write to the watches. The caller holds a lock that preserves the order of commits.
    pub fn send(&self, write: &Write, revision: Revision) {
        // Fails only if there is no watch.
        let _ = self.events.send(Event {
            key: write.key.clone(),
            value: write.value.clone(),
            revision,
        });
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            events: Sender::new(CAPACITY),
        }
    }
}
