//! What is known of each container's ports. The engine replies to a request about a container that is being started only when it
//! runs, so each request is a task.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::Path,
};

use tokio::sync::mpsc;

use super::{
    api::{Container, PortMap},
    engine::{Engine, EngineError},
    ports::specifications,
};
use crate::model::PortSpec;

/// A reply of the engine.
pub type Reply = (String, Result<Option<Container>, EngineError>);

/// The ports of containers, by id.
pub struct Containers {
    engine: Engine,
    known: HashMap<String, Known>,
    /// Containers with a running request.
    requested: HashSet<String>,
    /// Of these, the ones that have changed since.
    again: HashSet<String>,
    replies: mpsc::UnboundedSender<Reply>,
}

/// What the engine has replied last.
#[derive(Default)]
struct Known {
    /// Requested ports; those with a fixed host port are known before the container runs.
    requested: PortMap,
    /// The last component of the namespace's path, and the published ports. `None` if the container did not run.
    running: Option<(String, PortMap)>,
}

/// Ports of a container.
#[derive(Debug, PartialEq, Eq)]
pub struct Ports {
    /// The ports.
    pub specs: Vec<PortSpec>,
    /// Whether these are all of them. Otherwise ports that the engine chooses are missing.
    pub complete: bool,
}

impl Ports {
    /// No port, whatever the container requests.
    pub const fn none() -> Self {
        Self {
            specs: Vec::new(),
            complete: true,
        }
    }
}

impl Containers {
    /// No container. Replies to requests are sent to `replies`.
    pub fn new(engine: Engine, replies: mpsc::UnboundedSender<Reply>) -> Self {
        Self {
            engine,
            known: HashMap::new(),
            requested: HashSet::new(),
            again: HashSet::new(),
            replies,
        }
    }

    /// Requests the state of a container.
    pub fn request(&mut self, id: &str) {
        if !self.requested.insert(id.to_owned()) {
            self.again.insert(id.to_owned());
            return;
        }
        let (engine, replies, id) = (self.engine.clone(), self.replies.clone(), id.to_owned());
        tokio::spawn(async move {
            let reply = engine.container(&id).await;
            // Fails only if the companion has ended.
            let _ = replies.send((id, reply));
        });
    }

    /// Requests the state of a container unless a request is running.
    pub fn request_once(&mut self, id: &str) {
        if !self.requested.contains(id) {
            self.request(id);
        }
    }

    /// Takes a reply.
    ///
    /// # Errors
    /// If the request has failed.
    pub fn note(&mut self, (id, reply): Reply) -> Result<(), EngineError> {
        self.requested.remove(&id);
        if self.again.remove(&id) {
            self.request(&id);
        }
        match reply? {
            None => drop(self.known.remove(&id)),
            Some(container) => {
                let settings = container.network_settings;
                let running = (container.state.running, settings.ports);
                let known = Known {
                    requested: container.host_config.port_bindings.unwrap_or_default(),
                    running: match running {
                        (true, Some(ports)) => {
                            Some((last_component(Path::new(&settings.sandbox_key)), ports))
                        }
                        _ => None,
                    },
                };
                self.known.insert(id, known);
            }
        }
        Ok(())
    }

    /// Forgets a container that was removed.
    pub fn forget(&mut self, id: &str) {
        self.known.remove(id);
    }

    /// The ports of a container whose namespace is at `netns`. `any` are the host addresses of a binding without one.
    pub fn ports(&self, id: &str, netns: &Path, any: &[IpAddr]) -> Ports {
        let known = self.known.get(id);
        let running = known.and_then(|known| known.running.as_ref());
        match running.filter(|(key, _)| *key == last_component(netns)) {
            Some((_, ports)) => Ports {
                specs: specifications(ports, any),
                complete: true,
            },
            None => Ports {
                specs: known
                    .map(|known| specifications(&known.requested, any))
                    .unwrap_or_default(),
                complete: false,
            },
        }
    }

    /// The id of the known container that starts with `short`.
    pub fn full_id(&self, short: &str) -> Option<&str> {
        let mut ids = self.known.keys().chain(&self.requested);
        ids.find(|id| id.starts_with(short)).map(String::as_str)
    }
}

fn last_component(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
