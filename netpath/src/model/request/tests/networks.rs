use super::*;

#[test]
fn built_in_networks_cannot_be_removed() {
    let node = Node::new();
    let bridge = node.state.network(&name("bridge")).unwrap();
    assert_eq!(bridge.subnets[0].prefix.to_string(), "172.20.0.0/24");
    assert_eq!(bridge.subnets[0].gateway.to_string(), "172.20.0.1");
    assert_eq!(bridge.subnets[1].prefix.prefix_len(), 64);
    for built_in in ["bridge", "host", "none"] {
        let error = node.state.remove_network(&name(built_in)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
}

#[test]
fn new_subnet_avoids_networks_and_routes() {
    let mut node = Node::new();
    node.connected = vec!["172.20.1.0/24".parse().unwrap()];
    let made = node.network(net("web")).unwrap();
    assert_eq!(made.subnets[0].prefix.to_string(), "172.20.2.0/24");
    assert_eq!(made.index, 2);
    assert!(matches!(
        node.network(net("web")),
        Err(RequestError::Exists { .. })
    ));

    for (subnet, owner) in [
        ("172.20.2.128/25", "network 'web'"),
        ("172.20.0.0/15", "network"),
        ("172.20.1.0/28", "address"),
    ] {
        let request = NetworkRequest {
            subnets: vec![subnet.parse().unwrap()],
            ..net("other")
        };
        let error = node.network(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(owner), "{error}");
    }
}

#[test]
fn class1_wide_route_is_avoided_only_if_possible() {
    let prefixes =
        |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let mut node = Node::new();
    node.connected = prefixes(&["172.20.1.0/24"]);
    node.routed = prefixes(&["172.20.0.0/15", "fd00::/8"]);
    let made = node.network(net("avoids")).unwrap();
    assert_eq!(made.subnets[0].prefix.to_string(), "172.22.0.0/24");
    node.routed = prefixes(&["128.0.0.0/1", "fd00::/8"]);
    let request = NetworkRequest {
        ipv6: true,
        ..net("covered")
    };
    let made = node.network(request).unwrap();
    assert_eq!(made.subnets[0].prefix.to_string(), "172.20.2.0/24");
    assert_eq!(made.subnets.len(), 2);
    assert_eq!(route_warnings(&made.subnets, &node.routed).len(), 2);

    let request = NetworkRequest {
        subnets: prefixes(&["172.21.0.0/24", "fd00:21::/64"]),
        ..net("named")
    };
    let made = node.network(request).unwrap();
    let warnings = route_warnings(&made.subnets, &node.routed);
    assert!(warnings[0].contains("128.0.0.0/1"), "{warnings:?}");
    assert!(warnings[1].contains("fd00::/8"), "{warnings:?}");
}

#[test]
fn class1_without_a_free_subnet_the_other_built_in_networks_are_created() {
    let mut node = Node {
        state: State::default(),
        ..Node::new()
    };
    node.connected = vec!["172.16.0.0/12".parse().unwrap()];
    let error = node.ask(|state, env| state.missing_built_in(BuiltIn::All, env));
    assert!(matches!(error, Err(RequestError::PoolsExhausted { .. })));
    for name in ["host", "none"] {
        let made = node.ask(|state, env| state.missing_built_in(BuiltIn::WithoutSubnets, env));
        let change = made.unwrap().unwrap();
        assert!(
            matches!(&change, Change::Network { after: Some(network), .. } if network.name.as_str() == name)
        );
        node.state.apply(&change).unwrap();
    }
    let last = node.ask(|state, env| state.missing_built_in(BuiltIn::WithoutSubnets, env));
    assert!(last.unwrap().is_none());
}

#[test]
fn invalid_subnet_is_refused() {
    let mut node = Node::new();
    for subnet in [
        "10.1.2.3/24",
        "10.0.0.0/31",
        "10.0.0.0/32",
        "224.1.0.0/16",
        "127.1.0.0/16",
        "169.254.3.0/24",
        "0.0.0.0/0",
        "fe80::/64",
        "ff05::/64",
        "::/0",
        "fd00::/127",
        "::ffff:10.0.0.0/120",
    ] {
        let request = NetworkRequest {
            subnets: vec![subnet.parse().unwrap()],
            ..net("web")
        };
        let error = node.network(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{subnet}: {error}");
    }
    let with = |gateways: &[&str], ranges: &[&str]| NetworkRequest {
        subnets: vec!["10.1.0.0/24".parse().unwrap()],
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        ip_ranges: ranges.iter().map(|text| text.parse().unwrap()).collect(),
        ..net("web")
    };
    for (gateways, ranges) in [
        (&["10.1.1.1"] as &[&str], &[] as &[&str]),
        (&["10.1.0.0"], &[]),
        (&["10.1.0.255"], &[]),
        (&["10.1.0.1", "10.1.0.2"], &[]),
        (&["fd00::1"], &[]),
        (&[], &["10.1.1.0/28"]),
        (&[], &["10.0.0.0/8"]),
        (&[], &["10.1.0.0/28", "10.1.0.16/28"]),
    ] {
        let error = node.network(with(gateways, ranges)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{gateways:?} {ranges:?}");
    }
    let made = node
        .network(with(&["10.1.0.254"], &["10.1.0.64/28"]))
        .unwrap();
    assert_eq!(made.subnets[0].gateway.to_string(), "10.1.0.254");
    let joined = node.run(within("one", &["web"])).unwrap();
    assert_eq!(joined.endpoints[0].addresses[0].to_string(), "10.1.0.64/24");
}

#[test]
fn invalid_network_option_is_refused() {
    let mut node = Node::new();
    let overlay = NetworkRequest {
        driver: Driver::Overlay,
        ..net("web")
    };
    assert_eq!(
        node.network(overlay).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    for mtu in [67, 70_000] {
        let request = NetworkRequest {
            mtu: Some(mtu),
            ..net("web")
        };
        assert_eq!(
            node.network(request).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    let narrow = NetworkRequest {
        mtu: Some(1279),
        ipv6: true,
        ..net("web")
    };
    assert!(node.network(narrow.clone()).is_err());
    assert!(
        node.network(NetworkRequest {
            ipv6: false,
            ..narrow
        })
        .is_ok()
    );
}

#[test]
fn used_network_is_not_removed() {
    let mut node = Node::new();
    node.network(net("web")).unwrap();
    node.run(within("one", &["web"])).unwrap();
    let error = node.state.remove_network(&name("web")).unwrap_err();
    assert_eq!(error.to_string(), "network 'web' is in use by 'one'");
    node.remove("one").unwrap();
    assert!(node.state.remove_network(&name("web")).is_ok());
    let error = node.state.remove_network(&name("wbe")).unwrap_err();
    assert_eq!(error.to_string(), "no network 'wbe'; did you mean 'web'?");
}
