//! Follows the distributed store, and keeps the cache equal to it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::cache::Cache;
use crate::store::{
    Event, RemoteError, RemoteProblem, Revision, SHARED, Store, StoreError, Watch, WatchError,
    Write,
};

/// Time between two checks of a distributed store that is away.
const CHECK: Duration = Duration::from_secs(1);
/// Number of events that are applied in one commit of the file.
const BATCH: usize = 512;

/// The distributed store and its cache.
pub struct Shared {
    pub remote: Arc<dyn Store>,
    pub cache: Cache,
    /// Why the cache does not follow the distributed store.
    problem: Mutex<Option<String>>,
    /// Whether the cache may differ although no event was lost.
    outdated: AtomicBool,
}

impl Shared {
    pub fn new(remote: Arc<dyn Store>, cache: Cache) -> Self {
        Self {
            remote,
            cache,
            problem: Mutex::default(),
            outdated: AtomicBool::new(false),
        }
    }

    /// Why the distributed store is away or not followed.
    pub fn problem(&self) -> Option<String> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        problem.clone().or_else(|| self.remote.unreachable())
    }

    /// Copies the distributed store to the cache.
    pub fn load(&self) -> Result<(), StoreError> {
        let loaded = self.copy();
        let problem = loaded.as_ref().err().map(ToString::to_string);
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        loaded
    }

    fn copy(&self) -> Result<(), StoreError> {
        let listing = self.remote.list("")?;
        let foreign = |key: &str| !key.starts_with(SHARED);
        if let Some(entry) = listing.entries.iter().find(|entry| foreign(&entry.key)) {
            return Err(StoreError::Remote(RemoteError {
                call: "load the shared objects",
                server: self.remote.kind().to_owned(),
                problem: RemoteProblem::Foreign {
                    key: entry.key.clone(),
                },
                uncertain: false,
            }));
        }
        let exists = |key: &str| Ok(self.remote.get(key)?.is_some());
        self.cache.replace(&listing, self.remote.identity(), exists)
    }

    /// Commits to the distributed store. Fails at once while it is away: the follower notices its return.
    pub fn commit(&self, writes: &[Write]) -> Result<Revision, StoreError> {
        if let Some(reason) = self.problem() {
            return Err(StoreError::Away { reason });
        }
        let committed = self.remote.commit(writes);
        match &committed {
            Err(StoreError::Conflict { .. }) => self.refresh(writes)?,
            Err(StoreError::Remote(error)) if error.uncertain => {
                self.outdated.store(true, Ordering::Release);
            }
            _ => {}
        }
        committed
    }

    /// Reads the keys of a commit that was computed from other values, so that the next attempt finds the present ones.
    fn refresh(&self, writes: &[Write]) -> Result<(), StoreError> {
        for write in writes {
            match self.remote.get(&write.key)? {
                Some(found) => self.cache.apply(vec![Event {
                    key: found.key,
                    value: Some(found.value),
                    revision: found.revision,
                }])?,
                // The revision of the deletion is not known.
                None if self.cache.get(&write.key)?.is_some() => {
                    self.outdated.store(true, Ordering::Release);
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// The thread that follows. Dropping it ends the thread.
pub struct Follower {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub fn start(shared: Arc<Shared>, watch: Watch, synced: bool) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io {
            action: "start a thread for",
            path: "the shared objects".into(),
            source,
        };
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let run = move || follow(&shared, &runtime, watch, stopped, synced);
        let thread = thread::Builder::new()
            .name("shared-store".to_owned())
            .spawn(run);
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread.map_err(failed)?),
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// What the follower does next.
enum Next {
    Stop,
    Check,
    Apply(Vec<Event>),
    Load,
}

fn follow(
    shared: &Shared,
    runtime: &Runtime,
    mut watch: Watch,
    mut stopped: oneshot::Receiver<()>,
    mut synced: bool,
) {
    loop {
        if shared.outdated.swap(false, Ordering::AcqRel) {
            synced = false;
        }
        if !synced {
            // The reason of a failure is the problem that the store reports.
            synced = shared.load().is_ok();
        }
        let next = runtime.block_on(async {
            if synced {
                next(&mut watch, &mut stopped).await
            } else {
                tokio::select! {
                    _ = &mut stopped => Next::Stop,
                    () = sleep(CHECK) => Next::Load,
                }
            }
        });
        match next {
            Next::Stop => return,
            // The result is the state that the store reports.
            Next::Check if shared.remote.unreachable().is_some() => {
                drop(shared.remote.get(SHARED));
            }
            Next::Check => {}
            Next::Load => synced = false,
            Next::Apply(events) => {
                let events = events
                    .into_iter()
                    .filter(|event| event.key.starts_with(SHARED));
                synced = shared.cache.apply(events.collect()).is_ok();
            }
        }
    }
}

/// Waits for events, for a second at most.
async fn next(watch: &mut Watch, stopped: &mut oneshot::Receiver<()>) -> Next {
    let first = tokio::select! {
        _ = stopped => return Next::Stop,
        event = timeout(CHECK, watch.next()) => event,
    };
    let mut events = match first {
        Err(_) => return Next::Check,
        Ok(Err(WatchError::Closed)) => return Next::Stop,
        Ok(Err(WatchError::Lagged)) => return Next::Load,
        Ok(Ok(event)) => vec![event],
    };
    while events.len() < BATCH {
        match watch.next().now_or_never() {
            None | Some(Err(WatchError::Closed)) => break,
            Some(Err(WatchError::Lagged)) => return Next::Load,
            Some(Ok(event)) => events.push(event),
        }
    }
    Next::Apply(events)
}
