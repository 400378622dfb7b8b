//! Keys that exist only while a process renews them.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{
    Expected, Store, StoreError, Write,
    remote::{RemoteError, Worker},
};

/// Pause after a renewal that failed.
const RETRY: Duration = Duration::from_secs(1);

/// A key of a distributed store with its lease or session.
pub(super) trait Lease: Sized + Send + 'static {
    /// How long the key exists without a renewal.
    fn ttl(&self) -> Duration;

    /// Renews the key, or writes it again if it has expired. The inner error is the value of another holder.
    fn renew(&mut self) -> impl Future<Output = Result<Result<(), String>, RemoteError>> + Send;

    /// Removes the key.
    fn end(self) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Starts the renewal of the key if it was acquired; `held` is the result of that.
    fn start(
        self,
        worker: &Worker,
        key: &str,
        held: Result<(), String>,
    ) -> Result<Hold, StoreError> {
        if let Err(by) = held {
            return Err(StoreError::Held {
                key: key.to_owned(),
                by,
            });
        }
        let (hold, renewal) = Hold::renewed();
        worker.spawn(renewal.run(self));
        Ok(hold)
    }
}

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
    fn renewed() -> (Self, Renewal) {
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
struct Renewal {
    state: watch::Sender<HoldState>,
    released: mpsc::Receiver<()>,
}

/// What ends a pause of a renewal.
enum Pause {
    Passed,
    /// The hold was released.
    Released,
    /// The hold was dropped.
    Dropped,
}

impl Renewal {
    /// Renews the key until the hold is dropped or another holder has the key.
    async fn run(mut self, mut lease: impl Lease) {
        let mut pause = lease.ttl() / 3;
        loop {
            match self.pause(pause).await {
                Pause::Passed => {}
                Pause::Released => {
                    // The key expires if the call fails.
                    let _ = lease.end().await;
                    return;
                }
                Pause::Dropped => return,
            }
            let state = match lease.renew().await {
                Ok(Ok(())) => HoldState::Held,
                Ok(Err(by)) => HoldState::Taken(by),
                Err(error) => HoldState::Unrenewed(error.to_string()),
            };
            pause = match state {
                HoldState::Held => lease.ttl() / 3,
                HoldState::Unrenewed(_) => RETRY,
                HoldState::Taken(_) => {
                    self.set(state);
                    return;
                }
            };
            self.set(state);
        }
    }

    fn set(&self, state: HoldState) {
        self.state.send_if_modified(|present| {
            let changed = *present != state;
            *present = state;
            changed
        });
    }

    async fn pause(&mut self, duration: Duration) -> Pause {
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
