use super::*;

#[test]
fn requested_address_must_be_free_and_in_the_subnet() {
    let mut node = Node::new();
    let with_ip = |text: &str, ip: &str| SandboxRequest {
        ips: vec![ip.parse().unwrap()],
        ..sandbox(text)
    };
    node.run(with_ip("one", "172.20.0.77")).unwrap();
    let error = node.run(with_ip("two", "172.20.0.77")).unwrap_err();
    assert!(
        error.to_string().contains("taken by sandbox 'one'"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    for ip in ["172.20.1.7", "172.20.0.1", "172.20.0.0", "172.20.0.255"] {
        assert_eq!(
            node.run(with_ip("two", ip)).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    node.network(net("web")).unwrap();
    let request = SandboxRequest {
        ips: vec!["fd00::9".parse().unwrap()],
        ..within("two", &["web"])
    };
    assert!(matches!(
        node.run(request),
        Err(RequestError::Family { .. })
    ));
}

#[test]
fn requested_mac_must_be_unicast_and_unique() {
    let mut node = Node::new();
    let with_mac = |text: &str, mac: &str| SandboxRequest {
        mac: parse_mac(mac),
        ..sandbox(text)
    };
    let made = node.run(with_mac("one", "02:00:5e:00:53:01")).unwrap();
    assert_eq!(made.endpoints[0].mac.to_string(), "02:00:5e:00:53:01");
    for mac in [
        "02:00:5e:00:53:01",
        "01:00:5e:00:53:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
    ] {
        assert!(node.run(with_mac("two", mac)).is_err(), "{mac}");
    }
}

#[test]
fn external_networks_come_first_and_interfaces_keep_their_names() {
    let mut node = Node::new();
    let internal = NetworkRequest {
        internal: true,
        ..net("db")
    };
    node.network(internal).unwrap();
    node.network(net("web")).unwrap();
    let made = node.run(within("one", &["db", "web"])).unwrap();
    assert_eq!(networks_of(&made), [("web", "eth1"), ("db", "eth0")]);
    let made = node.connect("bridge", "one").unwrap();
    assert_eq!(
        networks_of(&made),
        [("web", "eth1"), ("bridge", "eth2"), ("db", "eth0")]
    );
    node.publish("one", "8080:80").unwrap();
    let made = node.disconnect("web", "one").unwrap();
    assert_eq!(networks_of(&made), [("bridge", "eth2"), ("db", "eth0")]);
    assert_eq!(made.ports.len(), 1);
    let made = node.connect("web", "one").unwrap();
    assert_eq!(
        networks_of(&made),
        [("bridge", "eth2"), ("web", "eth1"), ("db", "eth0")]
    );
    assert!(matches!(
        node.connect("web", "one"),
        Err(RequestError::Connected { .. })
    ));
    node.disconnect("web", "one").unwrap();
    assert!(matches!(
        node.disconnect("web", "one"),
        Err(RequestError::NotConnected { .. })
    ));
}

#[test]
fn special_network_mode_excludes_other_options() {
    let mut node = Node::new();
    node.run(sandbox("one")).unwrap();
    for mode in ["host", "none", "container:one"] {
        let good = node
            .run(within(&format!("of-{}", &mode[..4]), &[mode]))
            .unwrap();
        assert_eq!(good.mode.to_string(), mode);
        assert!(good.endpoints.is_empty());
        let base = within("bad", &[mode]);
        let bad = [
            within("bad", &[mode, "bridge"]),
            within("bad", &["bridge", mode]),
            SandboxRequest {
                ports: vec!["80".parse().unwrap()],
                ..base.clone()
            },
            SandboxRequest {
                ips: vec!["172.20.0.9".parse().unwrap()],
                ..base.clone()
            },
            SandboxRequest {
                mac: parse_mac("02:00:5e:00:53:01"),
                ..base.clone()
            },
        ];
        for request in bad {
            assert_eq!(node.run(request).unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert!(node.connect("bridge", good.name.as_str()).is_err());
        assert!(node.publish(good.name.as_str(), "80:80").is_err());
    }
    let error = node.run(within("bad", &["container:noe"])).unwrap_err();
    assert_eq!(error.to_string(), "no sandbox 'noe'; did you mean 'one'?");
}

#[test]
fn shared_namespace_is_not_removed() {
    let mut node = Node::new();
    let one = node.run(sandbox("one")).unwrap();
    let two = node.run(within("two", &["container:one"])).unwrap();
    let three = node.run(within("three", &["container:two"])).unwrap();
    assert_eq!((&two.netns, &three.netns), (&one.netns, &one.netns));
    assert_eq!(
        node.remove("one").unwrap_err().to_string(),
        "sandbox 'one' is in use by 'two'"
    );
    assert!(node.remove("two").is_err());

    let sandboxes = node.state.sandboxes().cloned().collect();
    let networks = node.state.networks().cloned().collect();
    node.state = State::load(networks, sandboxes, 0).unwrap();
    for gone in ["three", "two", "one"] {
        node.remove(gone).unwrap();
    }
}

#[test]
fn namespace_is_not_adopted_twice() {
    let mut node = Node::new();
    let adopt = |text: &str| SandboxRequest {
        source: Source::Path {
            path: "/run/netns/x".into(),
            namespace: NetnsId {
                inode: 7,
                cookie: 9,
                boot: 1,
            },
        },
        ..sandbox(text)
    };
    node.run(adopt("one")).unwrap();
    let error = node.run(adopt("two")).unwrap_err();
    assert!(error.to_string().contains("sandbox 'one'"), "{error}");
    let host = SandboxRequest {
        networks: vec![NetworkChoice::Host],
        ..adopt("three")
    };
    assert_eq!(node.run(host).unwrap_err().kind(), ErrorKind::Invalid);
    node.remove("one").unwrap();
    node.run(adopt("two")).unwrap();
}

#[test]
fn released_address_is_reused_last() {
    let mut node = Node::new();
    let address = |node: &mut Node, text: &str| {
        let made = node.run(sandbox(text)).unwrap();
        made.endpoints[0].addresses[0].to_string()
    };
    assert_eq!(address(&mut node, "one"), "172.20.0.2/24");
    assert_eq!(address(&mut node, "two"), "172.20.0.3/24");
    node.remove("two").unwrap();
    node.publish("one", "80:80").unwrap();
    assert_eq!(address(&mut node, "three"), "172.20.0.4/24");
}
