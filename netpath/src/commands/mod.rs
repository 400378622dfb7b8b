//! Commands: the only code that changes the state of the node.
//!
//! ```text
//! front end ─► typed request ─► model: Change ─► store ─► reconcile ─► event
//! ```
//!
//! A command that changes the state returns when the change is stored and applied, or reversed. Commands run one after
//! another: each holds the lock of the node. The tasks of the daemon use commands too (`maintenance`).

mod cluster;
mod deny;
mod ended;
mod endpoint;
mod error;
mod event;
mod failures;
mod flow_pressure;
mod foreign;
mod maintenance;
mod membership;
mod namespace;
mod network;
mod node;
mod overlay;
mod peers;
mod port;
mod publication;
mod sandbox;
mod status;
mod stored;
mod taken;
mod teardown;
mod view;

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, broadcast};

use crate::{
    config::Config,
    datapath::{
        Datapath,
        read::{self, MapUse, ReadError},
    },
    reconcile::{self, Host, Kernel},
    store,
};

pub use deny::DenialView;
pub use endpoint::EndpointSpec;
pub use error::{CommandError, ErrorKind};
pub use event::{Action, Event, ObjectKind};
pub use foreign::{ContainerLink, Foreign, ForeignVeth};
pub use maintenance::Repaired;
pub use namespace::{NamespaceChoice, NamespaceError};
pub use network::NetworkSpec;
pub use node::{Node, NodeParts};
pub use peers::{NodeState, NodeView};
pub use sandbox::SandboxSpec;
pub use status::{InterfaceView, ProgramStatus, ReconcileStatus, Status, StoreStatus};
pub use stored::Stored;
pub use teardown::remove_kernel_state;
pub use view::{EndpointView, NetworkView, PortView, SandboxView};

/// Number of unread events of a reader; the oldest event is lost if there are more.
const EVENTS: usize = 1024;

/// The commands of one node. Clones share the node.
pub struct Commands<K = Host, D = Datapath> {
    shared: Arc<Shared<K, D>>,
}

struct Shared<K, D> {
    config: Config,
    node: Mutex<Node<K, D>>,
    events: broadcast::Sender<Event>,
    /// Locked before `node`.
    published: Mutex<publication::Published>,
    wake: Wake,
}

/// Wake-ups of the daemon's tasks.
#[derive(Default)]
pub struct Wake {
    /// Flows may have become invalid.
    pub sweep: Notify,
    /// The node must be reconciled.
    pub reconcile: Notify,
    /// Sandboxes were created or removed: the set of processes to watch has changed.
    pub sandboxes: Notify,
    /// The deny list has changed: another entry may be the next one that expires.
    pub denials: Notify,
    /// Endpoints were created, changed or removed: they may have to be published.
    pub publish: Notify,
    /// A device of another program has changed. Only notified if a front end for a container engine runs.
    pub links: Notify,
    /// The daemon must stop.
    pub end: Notify,
}

impl<K, D> Clone for Commands<K, D> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K: Kernel, D: reconcile::Datapath> Commands<K, D> {
    /// Commands for a node.
    pub fn new(config: Config, node: Node<K, D>) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                node: Mutex::new(node),
                events: broadcast::channel(EVENTS).0,
                published: Mutex::default(),
                wake: Wake::default(),
            }),
        }
    }

    /// Settings of the daemon.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Wake-ups of the daemon's tasks.
    pub fn wake(&self) -> &Wake {
        &self.shared.wake
    }

    /// Events after this call. A reader loses the oldest events if more than 1024 are unread.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Whether the node was torn down. Waits for the command that is running.
    pub async fn is_torn_down(&self) -> bool {
        self.shared.node.lock().await.torn_down
    }

    /// Every pinned map.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn maps(&self) -> Result<Vec<MapUse>, ReadError> {
        read::list(&self.shared.config.bpf_dir)
    }

    /// Changes of the store after this call, including those of other writers.
    pub async fn watch_store(&self) -> store::Watch {
        self.shared.node.lock().await.stored.store().watch("")
    }

    fn emit(&self, action: Action, object: ObjectKind, name: &str, message: Option<String>) {
        if matches!(object, ObjectKind::Sandbox | ObjectKind::Endpoint) {
            self.shared.wake.publish.notify_one();
        }
        // Fails only if there is no reader.
        let _ = self
            .shared
            .events
            .send(Event::now(action, object, name, message));
    }
}
