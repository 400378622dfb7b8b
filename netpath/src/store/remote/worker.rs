//! A thread that makes the calls of a distributed store.

use std::{
    io,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use super::{RemoteError, RemoteProblem};
use crate::store::StoreError;

/// A thread with a runtime. Dropping it cancels its tasks.
#[derive(Debug)]
pub struct Worker {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no resources for it.
    pub fn start(name: &'static str) -> Result<Self, StoreError> {
        Self::try_start(name).map_err(|source| StoreError::Io {
            action: "start a thread for",
            path: name.into(),
            source,
        })
    }

    fn try_start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            // An error means that the worker was dropped.
            let _ = runtime.block_on(stopped);
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self {
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Runs a future to its end. The future limits its own duration.
    pub fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // The receiver waits until it has received the result.
            let _ = sender.send(future.await);
        });
        receiver.recv().map_err(|_| RemoteError {
            call: "make a call",
            server: String::new(),
            problem: RemoteProblem::Unavailable("its client has stopped".to_owned()),
            uncertain: true,
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}
