//! The reconciler with fakes: order of operations, partial failure, retry, reversal.

pub(crate) mod fakes;

use std::collections::{BTreeMap, BTreeSet};

use fakes::{Failure, World};

use super::{Depth, Outcome, Reconciler};
use crate::{
    model::{
        Change, Driver, Endpoint, GatewayMode, Id, NetnsSource, Network, NetworkMode, Owner,
        PortMapping, Protocol, Sandbox, State, Subnet,
    },
    plan::{Desired, Facts, Interface, LinkHeader, Observed},
};

type Fakes = Reconciler<fakes::FakeKernel, fakes::FakeDatapath>;

fn reconciler(world: &World) -> Fakes {
    let (kernel, datapath) = world.fakes();
    Reconciler { kernel, datapath }
}

pub(crate) fn facts() -> Facts {
    let interface = Interface {
        mtu: 1500,
        header: LinkHeader::Ethernet,
        is_uplink: true,
        v4: Some("192.0.2.7".parse().unwrap()),
        v6: None,
    };
    Facts {
        interfaces: BTreeMap::from([("eth0".to_owned(), interface)]),
        mtu: Some(1500),
        host_addresses: BTreeSet::from(["192.0.2.7".parse().unwrap()]),
        ..Facts::default()
    }
}

pub(crate) fn network() -> Network {
    Network {
        id: Id::from_random(0x100),
        name: "n".parse().unwrap(),
        driver: Driver::Bridge,
        subnets: vec![Subnet {
            prefix: "10.1.0.0/24".parse().unwrap(),
            gateway: "10.1.0.1".parse().unwrap(),
            range: None,
        }],
        mtu: None,
        internal: false,
        icc: true,
        masquerade: true,
        gateway_mode: GatewayMode::Nat,
        overlay: None,
        labels: BTreeMap::new(),
        owner: Owner::Netpath,
        adopted: None,
        index: 1,
    }
}

pub(crate) fn sandbox() -> Sandbox {
    let id = Id::from_random(0x300);
    Sandbox {
        id: Id::from_random(0x200),
        name: "web".parse().unwrap(),
        mode: NetworkMode::Network,
        netns: "/run/netns/web".into(),
        source: NetnsSource::Created,
        process: None,
        owner: Owner::Netpath,
        hostname: "web".to_owned(),
        forwarding: false,
        endpoints: vec![Endpoint {
            id,
            network: "n".parse().unwrap(),
            interface: "eth0".to_owned(),
            mac: id.mac(),
            addresses: vec!["10.1.0.2/24".parse().unwrap()],
            owner: Owner::Netpath,
            rate: None,
            adopted: None,
            slot: 1,
            generation: 1,
        }],
        ports: vec![PortMapping {
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port: 8080,
            host_port_end: 8080,
            container_port: 80,
            container_port_end: 80,
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            allow_list: 1,
        }],
    }
}

fn state() -> State {
    State::load(vec![network()], vec![sandbox()], 1).unwrap()
}

/// Both sides of the creation of [`sandbox`].
fn creation() -> (Desired, Desired) {
    let state = State::load(vec![network()], Vec::new(), 0).unwrap();
    let change = Change::Sandbox {
        before: None,
        after: Some(Box::new(sandbox())),
    };
    Desired::of_change(&change, &state, &facts())
}

/// A world with the network and the uplink, and without the sandbox.
fn world_with_network() -> World {
    let state = State::load(vec![network()], Vec::new(), 0).unwrap();
    World::new(Observed::complete(&Desired::of_state(&state, &facts())))
}

#[tokio::test]
async fn empty_node_is_built_in_the_order_of_the_plan() {
    let world = World::new(Observed::default());
    let desired = Desired::of_state(&state(), &facts());
    let outcome = reconciler(&world).reconcile(&desired, Depth::Inside).await;
    let Outcome { operations, errors } = outcome.unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    let lines: Vec<_> = operations.iter().map(ToString::to_string).collect();
    assert_eq!(world.executed(), lines);
    assert_eq!(world.observed(), Observed::complete(&desired));

    let again = reconciler(&world).reconcile(&desired, Depth::Inside).await;
    assert_eq!(again.unwrap().operations, []);
}

#[tokio::test]
async fn change_executes_only_the_operations_of_its_objects() {
    let world = world_with_network();
    let (before, after) = creation();
    reconciler(&world).apply(&before, &after).await.unwrap();
    let bridge = network().bridge();
    let foreign =
        |line: &&String| line.contains("uplink-") || line.contains(&format!("bridge {bridge} up"));
    assert_eq!(world.executed().iter().find(foreign), None);
    let desired = Desired::of_state(&state(), &facts());
    assert_eq!(world.observed(), Observed::complete(&desired));
}

#[tokio::test]
async fn change_stops_at_the_first_failure_and_its_reverse_undoes_it() {
    let (before, after) = creation();
    let world = world_with_network();
    let untouched = world.observed();
    let all = {
        let mut reconciler = reconciler(&world);
        let operations = reconciler.apply(&before, &after).await.unwrap();
        reconciler.apply(&after, &before).await.unwrap();
        assert_eq!(world.observed(), untouched);
        operations
    };
    for (position, failing) in all.iter().enumerate() {
        let world = world_with_network();
        world.fail(Failure::on(&failing.to_string()));
        let mut reconciler = reconciler(&world);
        let error = reconciler.apply(&before, &after).await.unwrap_err();
        assert!(
            error.to_string().starts_with(&failing.to_string()),
            "{error}"
        );
        assert_eq!(world.executed().len(), position, "{failing}");

        reconciler.apply(&after, &before).await.unwrap();
        assert_eq!(world.observed(), untouched, "reversal after {failing}");
    }
}

#[tokio::test]
async fn reconcile_continues_after_a_failure_and_the_next_one_completes_it() {
    let desired = Desired::of_state(&state(), &facts());
    let world = World::new(Observed::default());
    world.fail(Failure::on("add published port").times(1));
    let mut reconciler = reconciler(&world);
    let first = reconciler.reconcile(&desired, Depth::Inside).await.unwrap();
    assert_eq!(first.errors.len(), 1);
    assert!(first.errors[0].can_retry());
    assert_eq!(world.executed().len(), first.operations.len() - 1);

    let second = reconciler.reconcile(&desired, Depth::Inside).await.unwrap();
    assert!(second.errors.is_empty());
    assert_eq!(second.operations.len(), 1);
    assert_eq!(world.observed(), Observed::complete(&desired));
}

#[tokio::test]
async fn uplink_without_programs_is_not_used() {
    let desired = Desired::of_node(&facts());
    let world = World::new(Observed::default());
    world.fail(Failure::on("attach uplink-egress").times(1));
    let mut reconciler = reconciler(&world);
    let first = reconciler
        .reconcile(&desired, Depth::Outside)
        .await
        .unwrap();
    let errors: Vec<_> = first.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[1].contains("has no program at uplink-egress yet"),
        "{errors:?}"
    );
    assert!(world.observed().entries.interfaces.is_empty());

    let second = reconciler
        .reconcile(&desired, Depth::Outside)
        .await
        .unwrap();
    assert!(second.errors.is_empty());
    assert_eq!(world.observed().entries.interfaces.len(), 1);
}

#[tokio::test]
async fn deleted_objects_are_restored() {
    let desired = Desired::of_state(&state(), &facts());
    let complete = Observed::complete(&desired);
    let losses: [fn(&mut Observed); 6] = [
        |world| world.entries.ports.clear(),
        |world| world.entries.allow.clear(),
        |world| world.entries.addresses.clear(),
        |world| world.entries.subnets.clear(),
        |world| world.attached.clear(),
        |world| world.entries.networks.clear(),
    ];
    for lose in losses {
        let world = World::new(complete.clone());
        world.change(lose);
        let outcome = reconciler(&world).reconcile(&desired, Depth::Outside).await;
        assert!(outcome.unwrap().errors.is_empty());
        assert_eq!(world.observed(), complete);
    }
}

#[tokio::test]
async fn stale_pin_is_removed() {
    let desired = Desired::of_node(&facts());
    let world = World::new(Observed::complete(&desired));
    world.pin("npv-0000000009");
    let outcome = reconciler(&world).reconcile(&desired, Depth::Outside).await;
    let lines: Vec<_> = outcome
        .unwrap()
        .operations
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lines, ["detach endpoint-ingress from npv-0000000009"]);
    assert!(world.pins().is_empty());
}
