use super::*;

#[test]
fn ports_without_network_stay_reserved() {
    let mut node = Node::new();
    node.run(with_ports("one", &["8080:80"])).unwrap();
    node.disconnect("bridge", "one").unwrap();
    let error = node.run(with_ports("two", &["8080:80"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "port 8080/tcp is published by sandbox 'one' already"
    );
    assert_eq!(node.connect("bridge", "one").unwrap().ports.len(), 1);
}

#[test]
fn used_port_is_refused_with_its_owner() {
    let mut node = Node::new();
    node.listening = vec![(Protocol::Tcp, 80)];
    node.run(with_ports("one", &["8000-8009:9000-9009", "53:53/udp"]))
        .unwrap();
    node.run(sandbox("two")).unwrap();
    let message = |result: Result<Vec<PortMapping>, RequestError>| result.unwrap_err().to_string();
    assert_eq!(
        message(node.publish("two", "8009:1")),
        "port 8000-8009/tcp is published by sandbox 'one' already"
    );
    assert_eq!(
        message(node.publish("two", "79-81:79-81")),
        "port 80/tcp is in use by nginx (pid 7)"
    );
    assert_eq!(
        message(node.publish("two", "4789:1/udp")),
        "port 4789/udp is in use by the tunnel between nodes"
    );
    assert!(node.publish("two", "8009:1/udp").is_ok());
    assert!(node.publish("two", "127.0.0.1:8009:1").is_ok());
    assert!(node.publish("two", "127.0.0.1:8009:2").is_err());
    for spec in [
        "80:80/sctp",
        "224.0.0.1:1:1",
        "[fe80::1]:1:1",
        "[::ffff:10.0.0.1]:1:1",
    ] {
        assert_eq!(
            message(node.publish("two", spec)).split(' ').next(),
            Some("port"),
            "{spec}"
        );
    }
    node.unpublish("one", "8000-8009:9000-9009").unwrap();
    assert!(node.publish("two", "8009:1").is_ok());
    assert!(node.run(with_ports("three", &["90:1", "90:2"])).is_err());
}

#[test]
fn missing_host_port_is_allocated() {
    let mut node = Node::new();
    node.listening = (40_000..40_990).map(|port| (Protocol::Tcp, port)).collect();
    let made = node.run(with_ports("one", &["80", "90-98"])).unwrap();
    let [one, many] = made.ports.as_slice() else {
        panic!("{:?}", made.ports)
    };
    assert!((40_990..=40_999).contains(&one.host_port));
    assert_eq!(many.host_port_end - many.host_port, 8);
    let error = node.publish("one", "1-3").unwrap_err();
    assert!(
        matches!(error, RequestError::PortsExhausted { .. }),
        "{error}"
    );

    let ports = |made: Vec<PortMapping>| {
        made.last()
            .map(|mapping| (mapping.host_port, mapping.host_port_end))
    };
    assert_eq!(
        ports(node.publish("one", "8000-8002:80").unwrap()),
        Some((8000, 8000))
    );
    assert_eq!(
        ports(node.publish("one", "8000-8002:81").unwrap()),
        Some((8001, 8001))
    );
    node.unpublish("one", "8000-8002:80").unwrap();
    assert!(node.unpublish("one", "8000-8002:80").is_err());
}

#[test]
fn internal_network_publishes_nothing_and_routed_network_opens_container_ports() {
    let mut node = Node::new();
    node.network(NetworkRequest {
        internal: true,
        ..net("db")
    })
    .unwrap();
    node.network(NetworkRequest {
        gateway_mode: GatewayMode::Routed,
        ..net("routed")
    })
    .unwrap();
    node.run(within("one", &["db"])).unwrap();
    let error = node.publish("one", "80:80").unwrap_err();
    assert!(
        error.to_string().contains("network 'db' is internal"),
        "{error}"
    );

    node.run(within("two", &["routed"])).unwrap();
    node.run(within("three", &["routed"])).unwrap();
    let open = node.publish("two", "127.0.0.1:8080:80").unwrap();
    assert_eq!((open[0].host_ip, open[0].host_port), (None, 80));
    node.publish("three", "80").unwrap();
    assert!(node.publish("three", "79-81").is_err());
    node.run(with_ports("four", &["80:80"])).unwrap();
    node.connect("bridge", "two").unwrap();
    let error = node.disconnect("routed", "two").unwrap_err();
    assert!(matches!(error, RequestError::PortsCannotMove { .. }));
    node.unpublish("two", "8080:80").unwrap();
    node.disconnect("routed", "two").unwrap();
}

#[test]
fn allowed_sources_beyond_the_limits_are_refused() {
    let mut node = Node::new();
    let sources = |number: u32| -> Vec<_> {
        let prefix = |index: u32| {
            let ip = std::net::Ipv4Addr::from(0x0a00_0000 + index);
            format!("{ip}/32").parse().unwrap()
        };
        (0..number).map(prefix).collect()
    };
    let mut request = with_ports("one", &["80:80"]);
    request.allow = sources(1025);
    let error = node.run(request.clone()).unwrap_err();
    assert!(
        matches!(error, RequestError::AllowList { length: 1025, .. }),
        "{error}"
    );
    request.allow = sources(1024);
    for port in 0..64 {
        request.name = Some(name(&format!("s{port}")));
        request.ports = vec![format!("{port}:80", port = 1000 + port).parse().unwrap()];
        node.run(request.clone()).unwrap();
    }
    request.name = Some(name("more"));
    request.ports = vec!["2000:80".parse().unwrap()];
    let error = node.run(request.clone()).unwrap_err();
    assert!(matches!(error, RequestError::Exhausted { .. }), "{error}");
    node.unpublish("s3", "1003:80").unwrap();
    node.run(request).unwrap();
}

#[test]
fn allow_lists_have_distinct_numbers() {
    let mut node = Node::new();
    let mut request = with_ports("one", &["80:80", "81:81"]);
    request.allow = vec!["10.1.2.3/8".parse().unwrap()];
    let made = node.run(request.clone()).unwrap();
    assert_eq!(made.ports[0].allow[0].to_string(), "10.0.0.0/8");
    assert_eq!((made.ports[0].allow_list, made.ports[1].allow_list), (1, 2));
    node.unpublish("one", "80:80").unwrap();
    request.name = Some(name("two"));
    request.ports = vec!["82:82".parse().unwrap()];
    assert_eq!(node.run(request).unwrap().ports[0].allow_list, 1);
}
