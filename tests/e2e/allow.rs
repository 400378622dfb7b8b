//! Allow-lists of published ports.

use netpath_tests::{
    fixture::{Fixture, HOST, NETWORK_A, OUTSIDE, Topology},
    peer,
};

#[test]
fn port_with_allow_list_accepts_listed_sources_and_counts_others() {
    let fixture = Fixture::on(Topology::builder().neighbour().build());
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let sibling = fixture.sandbox("sibling", "network_a", &[]);
    let v4 = format!("{}/32", OUTSIDE.0);
    let v6 = format!("{}/128", OUTSIDE.1);
    let command = ["port", "publish", "web", "8443:80", "8443:80/udp"];
    let command = [&command[..], &["--allow", &v4, "--allow", &v6]].concat();
    fixture.daemon.cli(&command).success();
    let _server = peer::serve(&web.netns, "web", &["80"]);

    let to = |port| peer::tcp_and_udp_requests([HOST.0, HOST.1], port);
    let neighbour = fixture.topology.neighbour.as_ref().expect("a neighbour");
    peer::send_requests(fixture.outside(), &to(8443));
    for other_source in [neighbour, &sibling.netns] {
        peer::send_requests(other_source, &to(8080));
        let before = fixture.counted("drop_not_allowed");
        peer::assert_no_reply(other_source, &to(8443));
        let dropped = fixture.counted("drop_not_allowed") - before;
        assert!(dropped >= 4, "{}: {dropped}", other_source.name());
    }

    let ports = fixture.daemon.json(&["port", "ls", "web"]);
    let listed = ports.as_array().into_iter().flatten();
    let listed: Vec<_> = listed.filter(|port| port["host_port"] == 8443).collect();
    assert_eq!(listed.len(), 2, "{ports}");
    for port in listed {
        let allow = port["allow"].as_array().expect("allow");
        assert!(allow.contains(&v4.as_str().into()), "{port}");
        assert!(allow.contains(&v6.as_str().into()), "{port}");
    }
    fixture.assert_clean(&[&web, &sibling]);
}
