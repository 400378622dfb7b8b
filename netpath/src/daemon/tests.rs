//! Tests of the daemon's tasks with a fake kernel, a fake datapath and a second writer of the store.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{follow, lifecycle};
use crate::{
    commands::{Commands, Node, NodeParts, Stored},
    config::{Config, Settings},
    kernel::NodeFacts,
    model::{Change, Id, Sandbox},
    plan::{Desired, Facts, Observed},
    reconcile::{
        Reconciler,
        tests::{
            self,
            fakes::{FakeDatapath, FakeKernel, World},
        },
    },
    store::{Expected, MemoryStore, Revision, Store, objects},
};

/// Time limit for the application of a commit.
const LIMIT: Duration = Duration::from_secs(20);

/// A daemon without front ends, without kernel events, which need privileges, and without the flow sweep, which needs
/// maps.
struct Daemon {
    store: Arc<dyn Store>,
    world: World,
    commands: Commands<FakeKernel, FakeDatapath>,
    tasks: JoinSet<()>,
}

impl Daemon {
    /// Reconciles the node with an empty store.
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let world = World::new(Observed::default());
        world.set_facts(tests::facts());
        let settings = Settings {
            node: Some("here".to_owned()),
            ..Settings::default()
        };
        let config = Config::resolve(settings, None).unwrap();
        let (kernel, datapath) = world.fakes();
        let node = Node::new(NodeParts {
            name: config.node.clone(),
            id: Id::from_random(1),
            stored: Stored::load(Arc::clone(&store)).unwrap(),
            reconciler: Reconciler { kernel, datapath },
            facts: NodeFacts::default(),
            pools: config.pools.clone(),
            underlay_address: None,
            host_netns: "/proc/self/ns/net".into(),
            free_ports: (40_000, 50_000),
            degraded: BTreeMap::new(),
        });
        let commands = Commands::new(config, node);
        commands.reconcile().await.unwrap();
        Self {
            store,
            world,
            commands,
            tasks: JoinSet::new(),
        }
    }

    /// Starts the tasks.
    fn run(&mut self) {
        self.tasks.spawn(follow::run(self.commands.clone()));
        self.tasks.spawn(lifecycle::run(self.commands.clone()));
    }

    /// Another writer of the same store.
    fn second_writer(&self) -> Stored {
        Stored::load(Arc::clone(&self.store)).unwrap()
    }

    /// Waits until the state of the second writer is applied.
    async fn wait_for(&self, writer: &Stored) {
        let desired = Desired::of_state(writer.state(), &tests::facts());
        let complete = Observed::complete(&desired);
        self.wait_until(|| self.world.observed() == complete).await;
    }

    async fn wait_until(&self, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, wait).await;
        assert!(waited.is_ok(), "{:#?}", self.world.executed());
    }
}

/// A sandbox whose namespace exists, so that it has not ended.
fn sandbox() -> Sandbox {
    Sandbox {
        netns: "/proc/self/ns/net".into(),
        ..tests::sandbox()
    }
}

fn network_creation() -> Change {
    Change::Network {
        before: None,
        after: Some(Box::new(tests::network())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_of_a_second_writer_is_applied_and_reversed() {
    let mut daemon = Daemon::new().await;
    daemon.run();
    let mut writer = daemon.second_writer();
    daemon.wait_for(&writer).await;
    assert_eq!(daemon.world.observed().entries.interfaces.len(), 1);

    let creation = Change::Sandbox {
        before: None,
        after: Some(Box::new(sandbox())),
    };
    writer.record(&network_creation()).unwrap();
    writer.record(&creation).unwrap();
    daemon.wait_for(&writer).await;
    let observed = daemon.world.observed();
    assert_eq!((observed.entries.ports.len(), observed.veths.len()), (1, 1));

    writer.record(&creation.reversed()).unwrap();
    daemon.wait_for(&writer).await;
    let observed = daemon.world.observed();
    assert_eq!((observed.entries.ports.len(), observed.veths.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_before_the_watch_starts_is_applied() {
    let mut daemon = Daemon::new().await;
    let mut writer = daemon.second_writer();
    writer.record(&network_creation()).unwrap();
    daemon.run();
    daemon.wait_for(&writer).await;
    assert_eq!(daemon.world.observed().entries.networks.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_commit_of_a_second_writer_is_ignored_and_later_commits_are_applied() {
    let mut daemon = Daemon::new().await;
    daemon.run();
    let mut writer = daemon.second_writer();
    daemon.wait_for(&writer).await;
    let executed = daemon.world.executed();
    let key = "local/networks/invalid";
    daemon.store.put_if(key, b"{}", Expected::Nothing).unwrap();
    writer.record(&network_creation()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(daemon.world.executed(), executed);

    daemon.store.delete_if(key, Expected::Anything).unwrap();
    daemon.wait_for(&writer).await;
    assert_eq!(daemon.world.observed().entries.networks.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_record_has_the_current_addresses_of_its_interfaces() {
    let mut daemon = Daemon::new().await;
    daemon.run();
    let addresses = || {
        let nodes = objects::nodes(daemon.store.as_ref()).unwrap();
        let mut nodes = nodes
            .into_iter()
            .filter(|node| node.name.as_str() == "here");
        nodes.next().map(|node| node.addresses)
    };
    let first = vec!["192.0.2.7".parse().unwrap()];
    daemon
        .wait_until(|| addresses().as_ref() == Some(&first))
        .await;

    let second = vec!["192.0.2.8".parse().unwrap(), "2001:db8::8".parse().unwrap()];
    let mut facts = tests::facts();
    for interface in facts.interfaces.values_mut() {
        (interface.v4, interface.v6) = (Some(second[0]), Some(second[1]));
    }
    daemon.world.set_facts(facts);
    // Any commit of another writer leads to a reconcile.
    let mut writer = daemon.second_writer();
    writer.record(&network_creation()).unwrap();
    daemon
        .wait_until(|| addresses().as_ref() == Some(&second))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn class1_networks_keep_their_mtu_while_there_is_no_default_route() {
    let daemon = Daemon::new().await;
    let mut writer = daemon.second_writer();
    writer.record(&network_creation()).unwrap();
    daemon.world.set_facts(Facts {
        mtu: Some(9000),
        ..tests::facts()
    });
    daemon.commands.follow_store(Revision::MAX).await.unwrap();
    let mtus = || {
        let bridges = daemon.world.observed().bridges.into_values();
        bridges.map(|bridge| bridge.mtu).collect::<Vec<_>>()
    };
    assert_eq!(mtus(), [9000]);
    daemon.world.set_facts(Facts {
        mtu: None,
        ..tests::facts()
    });
    daemon.commands.reconcile().await.unwrap();
    assert_eq!(mtus(), [9000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn class1_new_interface_gets_programs_without_a_reconcile() {
    let daemon = Daemon::new().await;
    let mut facts = tests::facts();
    let interface = facts.interfaces["eth0"].clone();
    facts.interfaces.insert("eth1".to_owned(), interface);
    daemon.world.set_facts(facts);
    let executed = daemon.world.executed().len();
    daemon.commands.attach_interface(2, "eth1").await.unwrap();
    let attached = daemon.world.executed().split_off(executed);
    let lines = [
        "attach uplink-egress to eth1",
        "attach uplink-ingress to eth1",
        "add interface eth1 with MTU 1500, uplink",
    ];
    assert_eq!(attached, lines);
    daemon.commands.attach_interface(2, "eth1").await.unwrap();
    assert_eq!(daemon.world.executed().len(), executed + lines.len());
}
