//! State of the handlers of all routes.

use std::sync::Arc;

use tokio::sync::watch;

/// State of the handlers.
pub(super) struct Shared<S> {
    /// Handles the requests.
    pub service: Arc<S>,
    /// True when the daemon ends.
    pub ended: watch::Receiver<bool>,
}

// A derive would require `S: Clone`.
impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            ended: self.ended.clone(),
        }
    }
}
