//! Keys that exist only while a process renews them.

use tokio::sync::{mpsc, watch};

use super::{Expected, Store, StoreError, Write};

/// State of a held key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// The last renewal succeeded.
    Held,
    /// The last renewal failed for this reason. It is repeated; the key is written again if it has expired.
    Unrenewed(String),
    /// Another holder has written the key with this value. The key is not renewed any more.
    Taken(String),
}

/// A held key. Dropping it ends the renewal, so the key expires.
#[derive(Debug)]
pub struct Hold {
    state: watch::Receiver<HoldState>,
    /// The task that renews the key ends when this is dropped; a message makes it remove the key first.
    release: Option<mpsc::Sender<()>>,
}

impl Hold {
    /// State as of the last renewal.
    pub fn state(&self) -> HoldState {
        self.state.borrow().clone()
    }

    /// Waits for a change of the state. Never returns after the store was closed.
    pub async fn changed(&mut self) -> HoldState {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.state()
    }

    /// Removes the key. A failure is not reported: the key expires then.
    pub fn release(self) {
        if let Some(release) = &self.release {
            let _ = release.try_send(());
        }
    }

    /// A key that needs no renewal.
    fn permanent() -> Self {
        Self {
            state: watch::channel(HoldState::Held).1,
            release: None,
        }
    }

    /// A key that a task renews.
    pub(super) fn renewed() -> (Self, Renewal) {
        let (sender, state) = watch::channel(HoldState::Held);
        let (release, released) = mpsc::channel(1);
        let hold = Self {
            state,
            release: Some(release),
        };
        (
            hold,
            Renewal {
                state: sender,
                released,
            },
        )
    }
}

/// The side of a [`Hold`] that renews it.
#[derive(Debug)]
pub(super) struct Renewal {
    state: watch::Sender<HoldState>,
    released: mpsc::Receiver<()>,
}

/// What ends a pause of a renewal.
pub(super) enum Pause {
    Passed,
    /// The hold was released.
    Released,
    /// The hold was dropped.
    Dropped,
}

impl Renewal {
    pub fn set(&self, state: HoldState) {
        self.state.send_if_modified(|present| {
            let changed = *present != state;
            *present = state;
            changed
        });
    }

    pub async fn pause(&mut self, duration: std::time::Duration) -> Pause {
        tokio::select! {
            message = self.released.recv() => match message {
                Some(()) => Pause::Released,
                None => Pause::Dropped,
            },
            () = tokio::time::sleep(duration) => Pause::Passed,
        }
    }
}

/// Holds a key in a store that only this process uses: it is written like other keys.
pub(super) fn hold_alone(store: &dyn Store, key: &str, value: &[u8]) -> Result<Hold, StoreError> {
    super::check_held(key)?;
    let expected = match store.get(key)? {
        Some(found) if found.value == value => return Ok(Hold::permanent()),
        Some(found) => {
            return Err(StoreError::Held {
                key: key.to_owned(),
                by: String::from_utf8_lossy(&found.value).into_owned(),
            });
        }
        None => Expected::Nothing,
    };
    store.commit(&[Write {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        expected,
    }])?;
    Ok(Hold::permanent())
}
