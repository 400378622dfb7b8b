//! Client and server on real sockets.

pub(crate) mod fake;
mod http;
mod socket;
mod typed;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use fake::Fake;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{client::Client, server, socket::bind};

/// A directory that is removed with its guard.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("netpath-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A running server on a [`Fake`].
pub(crate) struct Running {
    pub fake: Arc<Fake>,
    pub socket: PathBuf,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    _scratch: Scratch,
}

impl Running {
    pub(crate) fn start() -> Self {
        let scratch = Scratch::new();
        let socket = scratch.path("api.sock");
        let listener = bind(&socket).unwrap();
        let fake = Arc::new(Fake::new());
        let (end, ended) = oneshot::channel();
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&fake), async {
            let _ = ended.await;
        }));
        Self {
            fake,
            socket,
            end: Some(end),
            serving,
            _scratch: scratch,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    async fn stop(mut self) {
        drop(self.end.take());
        (&mut self.serving).await.unwrap();
    }

    fn socket(&self) -> &Path {
        &self.socket
    }
}
