//! Endpoints without a sandbox, devices of other programs, owners.

use super::*;
use crate::model::{Caller, Endpoint, Id, Owner};

const DOCKER: Caller = Caller {
    owner: Owner::Docker,
    force: false,
};

fn adopted() -> NetworkRequest {
    NetworkRequest {
        adopt: Some(AdoptedBridge {
            name: "br0".to_owned(),
            addresses: vec![
                "10.77.0.1/24".parse().unwrap(),
                "fd00:77::1/64".parse().unwrap(),
            ],
            forwarding_v4: true,
            forwarding_v6: true,
        }),
        ..NetworkRequest::new(name("foreign"))
    }
}

fn veth(bridge: &str) -> EndpointRequest {
    EndpointRequest {
        adopt: Some(AdoptedVeth {
            name: "veth1".to_owned(),
            bridge: Some(bridge.to_owned()),
        }),
        mac: parse_mac("02:00:5e:00:53:07"),
        ips: vec!["10.77.0.9".parse().unwrap()],
        ..endpoint("foreign")
    }
}

fn endpoint(network: &str) -> EndpointRequest {
    EndpointRequest {
        network: name(network),
        ips: Vec::new(),
        mac: None,
        interface: None,
        adopt: None,
        owner: Owner::Netpath,
    }
}

fn create(node: &mut Node, request: &EndpointRequest) -> Result<Endpoint, RequestError> {
    let change = node.ask(|state, env| state.create_endpoint(request, env));
    let change = node.made(change)?;
    Ok(change.new_endpoint().unwrap().clone())
}

fn join(node: &mut Node, id: Id, sandbox: &str) -> Result<Change, RequestError> {
    let change = node
        .state
        .join_endpoint(id, &name(sandbox), &[], Caller::default());
    node.made(change)
}

fn unconnected(text: &str) -> SandboxRequest {
    SandboxRequest {
        unconnected: true,
        ..sandbox(text)
    }
}

#[test]
fn endpoint_reserves_its_addresses_before_its_sandbox_exists() {
    let mut node = Node::new();
    let made = create(&mut node, &endpoint("bridge")).unwrap();
    let ip = made.addresses[0].addr();
    let taken = SandboxRequest {
        ips: vec![ip],
        ..sandbox("other")
    };
    let error = node.run(taken).unwrap_err().to_string();
    assert!(error.contains(&format!("endpoint {}", made.id)), "{error}");

    node.run(unconnected("web")).unwrap();
    let joined = join(&mut node, made.id, "web").unwrap();
    let web = joined.new_sandbox().unwrap();
    assert_eq!(web.endpoints[0].addresses, made.addresses);
    assert_eq!(node.publish("web", "80:80").unwrap().len(), 1);
    assert!(join(&mut node, made.id, "web").is_err(), "joined already");
}

#[test]
fn endpoint_that_joins_again_has_a_new_generation() {
    let mut node = Node::new();
    let made = create(&mut node, &endpoint("bridge")).unwrap();
    node.run(unconnected("web")).unwrap();
    let mut generations = vec![made.generation];
    for _ in 0..2 {
        let joined = join(&mut node, made.id, "web").unwrap();
        generations.push(joined.new_sandbox().unwrap().endpoints[0].generation);
        let left = node.state.leave_endpoint(made.id, Caller::default());
        node.made(left).unwrap();
    }
    assert!(
        generations.is_sorted_by(|one, other| one < other),
        "{generations:?}"
    );
    let removed = node.state.remove_endpoint(made.id, Caller::default());
    node.made(removed).unwrap();
    assert_eq!(node.state.endpoints().count(), 0);
}

#[test]
fn membership_is_reversible() {
    let mut node = Node::new();
    let made = create(&mut node, &endpoint("bridge")).unwrap();
    node.run(unconnected("web")).unwrap();
    let before = node.state.sandbox(&name("web")).unwrap().clone();
    let joined = join(&mut node, made.id, "web").unwrap();
    node.state.apply(&joined.clone().reversed()).unwrap();
    assert_eq!(node.state.sandbox(&name("web")).unwrap(), &before);
    assert_eq!(node.state.endpoint(made.id).unwrap(), (&made, None));
    node.state.apply(&joined).unwrap();
}

#[test]
fn network_with_an_unbound_endpoint_is_in_use() {
    let mut node = Node::new();
    node.network(NetworkRequest::new(name("n"))).unwrap();
    let made = create(&mut node, &endpoint("n")).unwrap();
    let error = node.state.remove_network(&name("n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(&made.id.to_string()), "{error}");
}

#[test]
fn adopted_bridge_determines_subnets_and_gateways() {
    let mut node = Node::new();
    node.connected = vec!["10.77.0.0/24".parse().unwrap()];
    let network = node.network(adopted()).unwrap();
    assert_eq!(network.bridge(), "br0");
    let gateways: Vec<_> = network
        .subnets
        .iter()
        .map(|subnet| subnet.gateway.to_string())
        .collect();
    assert_eq!(gateways, ["10.77.0.1", "fd00:77::1"]);
    let again = NetworkRequest {
        name: name("again"),
        ..adopted()
    };
    let error = node.network(again).unwrap_err().to_string();
    assert!(
        error.contains("network 'foreign' already uses this bridge"),
        "{error}"
    );
}

#[test]
fn adopted_bridge_without_forwarding_is_refused_with_the_sysctl() {
    let mut node = Node::new();
    let mut request = adopted();
    request.adopt.as_mut().unwrap().forwarding_v6 = false;
    let error = node.network(request.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let hint = error.hint();
    assert!(
        hint.contains("'sysctl -w net.ipv6.conf.br0.forwarding=1'"),
        "{hint}"
    );
    request.internal = true;
    node.network(request).unwrap();
}

#[test]
fn bridge_that_cannot_be_adopted_is_refused() {
    let mut node = Node::new();
    let with = |change: fn(&mut NetworkRequest)| {
        let mut request = adopted();
        change(&mut request);
        request
    };
    let bad = [
        with(|request| request.adopt.as_mut().unwrap().name = "npb-0123456789".to_owned()),
        with(|request| request.adopt.as_mut().unwrap().addresses.clear()),
        with(|request| request.subnets = vec!["10.78.0.0/24".parse().unwrap()]),
        with(|request| {
            let more = "10.79.0.1/24".parse().unwrap();
            request.adopt.as_mut().unwrap().addresses.push(more);
        }),
    ];
    for request in bad {
        let error = node.network(request).unwrap_err();
        assert!(matches!(error, RequestError::AdoptBridge { .. }), "{error}");
    }
    let gateway = with(|request| {
        request.subnets = vec!["10.78.0.0/24".parse().unwrap()];
        request.gateways = vec!["10.78.0.254".parse().unwrap()];
    });
    let network = node.network(gateway).unwrap();
    assert_eq!(network.subnets[0].gateway.to_string(), "10.78.0.254");
}

#[test]
fn adopted_veth_keeps_the_addresses_of_the_caller() {
    let mut node = Node::new();
    node.network(adopted()).unwrap();
    let made = create(&mut node, &veth("br0")).unwrap();
    assert_eq!(made.host_interface(), "veth1");
    assert_eq!(made.mac, parse_mac("02:00:5e:00:53:07").unwrap());
    assert_eq!(made.addresses[0].to_string(), "10.77.0.9/24");
    assert_eq!(
        node.state.adopted_devices().into_iter().collect::<Vec<_>>(),
        ["br0", "veth1"]
    );
}

#[test]
fn veth_that_cannot_be_adopted_is_refused() {
    let mut node = Node::new();
    node.network(adopted()).unwrap();
    let bad = [
        veth("br1"),
        EndpointRequest {
            mac: None,
            ..veth("br0")
        },
        EndpointRequest {
            network: name("bridge"),
            ips: Vec::new(),
            ..veth("br0")
        },
    ];
    for request in bad {
        let error = create(&mut node, &request).unwrap_err();
        assert!(matches!(error, RequestError::AdoptVeth { .. }), "{error}");
    }
    create(&mut node, &veth("br0")).unwrap();
    let again = EndpointRequest {
        mac: parse_mac("02:00:5e:00:53:08"),
        ips: Vec::new(),
        ..veth("br0")
    };
    assert!(create(&mut node, &again).is_err(), "adopted twice");
}

#[test]
fn only_the_owner_or_force_changes_an_object() {
    let mut node = Node::new();
    node.network(NetworkRequest {
        owner: Owner::Docker,
        ..NetworkRequest::new(name("n"))
    })
    .unwrap();
    node.run(SandboxRequest {
        owner: Owner::Docker,
        ..sandbox("web")
    })
    .unwrap();
    let made = create(
        &mut node,
        &EndpointRequest {
            owner: Owner::Docker,
            ..endpoint("n")
        },
    )
    .unwrap();
    let other = Caller::default();
    let force = Caller {
        force: true,
        ..other
    };
    let check = |caller: Caller| {
        [
            node.state.check_network_owner(&name("n"), caller),
            node.state.check_sandbox_owner(&name("web"), caller),
            node.state.remove_endpoint(made.id, caller).map(drop),
        ]
    };
    for refused in check(other) {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().ends_with("belongs to docker"), "{error}");
        assert!(error.hint().contains("--force"));
    }
    for caller in [DOCKER, force] {
        assert!(check(caller).into_iter().all(|allowed| allowed.is_ok()));
    }
}
