//! The task that follows one connection to the engine.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::mpsc, time};

use super::{
    CALLER, api,
    engine::{Engine, EngineError, Events},
    inspect::{Containers, Reply},
    network::ID_LABEL,
    problems::Problems,
    prune,
};
use crate::{
    commands::{Commands, Foreign},
    model::{Name, Network},
};

/// Time between two passes without an event.
const PERIOD: Duration = Duration::from_secs(30);

/// First and longest time until a pass is repeated that has found a device without its container.
const RETRY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Follows the engine over one connection.
pub struct Companion {
    pub(super) commands: Commands,
    pub(super) engine: Engine,
    pub(super) containers: Containers,
    pub(super) problems: Problems,
    /// Networks of the engine at the last pass, by id.
    pub(super) networks: BTreeMap<String, api::Network>,
    replies: mpsc::UnboundedReceiver<Reply>,
}

impl Companion {
    /// A companion that knows no container.
    pub fn new(commands: Commands, engine: Engine) -> Self {
        let (sender, replies) = mpsc::unbounded_channel();
        Self {
            containers: Containers::new(engine.clone(), sender),
            commands,
            engine,
            problems: Problems::default(),
            networks: BTreeMap::new(),
            replies,
        }
    }

    /// Runs until the connection ends.
    pub async fn run(mut self, mut events: Events) -> EngineError {
        let mut retry = RETRY.0;
        let mut due = match self.pass_over_everything().await {
            Ok(complete) => next_pass(complete, &mut retry),
            Err(error) => return error,
        };
        loop {
            let everything = match self.wait(&mut events, due, &mut retry).await {
                Ok(everything) => everything,
                Err(error) => return error,
            };
            let passed = if everything {
                self.pass_over_everything().await
            } else {
                self.pass().await
            };
            match passed {
                Ok(complete) => due = next_pass(complete, &mut retry),
                Err(error) => return error,
            }
        }
    }

    /// Waits for the next pass. Returns whether it must include every container: without an event, one may have been lost.
    async fn wait(
        &mut self,
        events: &mut Events,
        due: time::Instant,
        retry: &mut Duration,
    ) -> Result<bool, EngineError> {
        let links = &self.commands.wake().links;
        tokio::select! {
            event = events.next() => {
                let event = event?;
                *retry = RETRY.0;
                self.note(&event);
                Ok(false)
            }
            Some(reply) = self.replies.recv() => {
                self.containers.note(reply)?;
                Ok(false)
            }
            () = links.notified() => Ok(false),
            () = time::sleep_until(due) => Ok(*retry == RETRY.0),
        }
    }

    fn note(&mut self, event: &api::Event) {
        match (event.object.as_str(), event.action.as_str()) {
            ("container", "create" | "start" | "die" | "update") => {
                self.containers.request(&event.actor.id);
            }
            ("container", "destroy") => self.containers.forget(&event.actor.id),
            ("network", "connect" | "disconnect") => {
                if let Some(id) = event.actor.attributes.get("container") {
                    self.containers.request(id);
                }
            }
            _ => {}
        }
    }

    /// A pass that also requests the state of every container.
    async fn pass_over_everything(&mut self) -> Result<bool, EngineError> {
        for container in self.engine.containers().await? {
            self.containers.request(&container.id);
        }
        self.pass().await
    }

    /// Compares the engine's networks, endpoints and ports with netpath's objects. Returns false if the container of a device is
    /// not known yet.
    async fn pass(&mut self) -> Result<bool, EngineError> {
        let foreign = match prune::prune(&self.commands).await {
            Ok(foreign) => foreign,
            Err(error) => {
                self.problems.note("devices".to_owned(), error);
                Foreign::default()
            }
        };
        let networks = self.engine.networks().await?;
        let networks = networks.into_iter().filter(api::Network::is_bridge);
        self.networks = networks
            .map(|network| (network.id.clone(), network))
            .collect();
        self.adopt_networks(&foreign).await;
        let complete = self.adopt_endpoints(&foreign).await?;
        self.publish_ports().await;
        self.problems.report(&self.commands).await;
        Ok(complete)
    }

    /// Adopts the engine's networks that are not adopted yet.
    async fn adopt_networks(&mut self, foreign: &Foreign) {
        let adopted = prune::networks(&self.commands).await;
        for (id, network) in self.networks.clone() {
            if !foreign.bridges.contains(&network.bridge()) {
                // The engine has not created the bridge yet, or has removed it already.
                continue;
            }
            let same_bridge = |other: &&Network| other.bridge() == network.bridge();
            match adopted.values().find(same_bridge) {
                Some(other) if other.labels.get(ID_LABEL) == Some(&id) => continue,
                // The engine has removed a network and created another one with the same bridge.
                Some(other) => prune::remove_network(&self.commands, &other.name).await,
                None => {}
            }
            if let Err(reason) = self.adopt_network(&network).await {
                self.problems
                    .note(format!("Docker network '{}'", network.name), reason);
            }
        }
    }

    async fn adopt_network(&self, network: &api::Network) -> Result<(), String> {
        let names: Vec<Name> = self
            .commands
            .networks()
            .await
            .into_iter()
            .map(|view| view.network.name)
            .collect();
        let name = network.name_in_netpath(|name| names.contains(name));
        let spec = network.spec(name.ok_or("it has no valid name")?)?;
        let created = self.commands.create_network(spec, CALLER).await;
        created.map(drop).map_err(|error| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })
    }
}

/// The time of the next pass.
fn next_pass(complete: bool, retry: &mut Duration) -> time::Instant {
    if complete {
        *retry = RETRY.0;
        return time::Instant::now() + PERIOD;
    }
    let due = time::Instant::now() + *retry;
    *retry = (*retry * 2).min(RETRY.1);
    due
}
