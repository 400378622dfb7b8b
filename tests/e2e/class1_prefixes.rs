//! Wide routes, and subnets of networks.

use netpath_tests::{
    fixture::{Fixture, Topology},
    peer::{self, Request, SocketType},
};

#[test]
fn class1_wide_routes_prevent_neither_startup_nor_named_subnets() {
    let topology = Topology::new();
    for route in [
        "0.0.0.0/1 via 192.0.2.2",
        "128.0.0.0/1 via 192.0.2.2",
        "10.0.0.0/8 via 192.0.2.2",
        "172.16.0.0/12 via 192.0.2.2",
        "192.168.0.0/16 via 192.0.2.2",
        "::/1 via 2001:db8:2::2",
        "8000::/1 via 2001:db8:2::2",
        "fc00::/7 via 2001:db8:2::2",
    ] {
        topology.host.exec(&format!("ip route add {route}"));
    }
    let fixture = Fixture::on(topology);
    let bridge = fixture.json("network inspect bridge");
    assert_eq!(bridge[0]["subnets"].as_array().map(Vec::len), Some(2));

    let create = "network create named --subnet 10.77.0.0/24 --subnet fd00:77::/64";
    let output = fixture.cli(create);
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    assert_eq!(output.stdout.trim(), "named");
    for overlap in ["10.77.0.0/24", "fd00:77::/64"] {
        let mut lines = output.stderr.lines();
        assert!(
            lines.any(|line| line.contains("warning") && line.contains(overlap)),
            "{}",
            output.stderr
        );
    }
    let automatic = fixture.json("network create automatic");
    assert!(automatic[0]["warnings"].is_array(), "{automatic}");

    let refused = fixture.cli("network create refused --subnet 192.0.2.128/25");
    assert_eq!(refused.status, Some(1));
    assert!(
        refused.stderr.contains("192.0.2.0/24"),
        "{}",
        refused.stderr
    );
    let refused = fixture.cli("network create refused --subnet 10.77.0.0/16");
    assert!(refused.stderr.contains("named"), "{}", refused.stderr);

    let web = fixture.sandbox("web", "named", &["8080:80"]);
    let _server = peer::serve(&web.netns, "web", &["80"]);
    let request = Request::new(SocketType::Tcp, "192.0.2.1", 8080);
    assert_eq!(peer::send_request(fixture.outside(), &request).name, "web");
    fixture.assert_clean(&[&web]);
}
