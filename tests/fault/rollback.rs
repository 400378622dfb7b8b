//! A change that fails halfway is reversed.

use netpath_tests::{Netns, fixture::Fixture};

use crate::crash::assert_consistent;

fn fixture() -> Fixture {
    let fixture = Fixture::with_fast_reconcile();
    fixture.cli_ok("network create blue --subnet 10.77.0.0/24");
    fixture.echo_sandbox("web", "-p 8080:80");
    fixture
}

/// Names, MAC addresses and administrative state of links. The carrier is left out, because it depends on the other
/// end.
#[track_caller]
fn links_of(netns: &Netns) -> Vec<String> {
    let shown = netns.exec("ip -br link show");
    let link = |line: &str| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let [name, _, mac, flags] = words[..] else {
            panic!("{line}");
        };
        let flags = flags.trim_matches(['<', '>']);
        let is_up = flags.split(',').any(|flag| flag == "UP");
        format!("{name} {mac} {is_up}")
    };
    shown.lines().map(link).collect()
}

#[track_caller]
fn assert_undone(fixture: &Fixture, adopted: &Netns, links: &[String], line: &str, words: &str) {
    let shown = fixture.lists();
    let devices = fixture.devices();
    let output = fixture.cli(line).failure(1);
    assert_eq!(output.lines().count(), 1, "{output}");
    assert!(output.contains(words), "{output}");
    assert_eq!(fixture.lists(), shown);
    assert_eq!(fixture.devices(), devices);
    assert_eq!(links_of(adopted), links);
    assert_consistent(fixture);
    fixture.assert_published(8080, "web");
}

/// Adds an interface with this alternative name: the daemon does not see the conflict before it renames its own.
fn occupy(netns: &Netns, name: &str) {
    netns.exec("ip link add other type bridge");
    netns.exec(&format!("ip link property add dev other altname {name}"));
}

/// Endpoints get interface names that are free in the namespace.
#[test]
fn namespace_with_interfaces_of_another_program_is_adopted() {
    let fixture = fixture();
    let adopted = Netns::new("adopted");
    let path = adopted.path().display().to_string();
    for name in ["eth0", "eth2"] {
        adopted.exec(&format!("ip link add {name} type bridge"));
    }
    fixture.cli_ok(&format!("sandbox create one --netns {path} -p 8081:80"));
    fixture.cli_ok("network connect blue one");
    let sandbox = &fixture.json("sandbox inspect one")[0];
    let names: Vec<_> = (0..2_usize)
        .map(|index| sandbox["endpoints"][index]["interface"].as_str())
        .collect();
    assert_eq!(names, [Some("eth1"), Some("eth3")]);
    fixture.serve_echo("one");
    fixture.assert_published(8081, "one");
    fixture.cli_ok("sandbox rm one");
    let links = links_of(&adopted);
    assert!(
        ["eth0", "eth2"]
            .iter()
            .all(|name| links.iter().any(|link| link.contains(name)))
    );
    assert_consistent(&fixture);
}

#[test]
fn used_interface_name_in_the_namespace_reverses_the_new_sandbox() {
    let fixture = fixture();
    let adopted = Netns::new("adopted");
    let path = adopted.path().display().to_string();
    occupy(&adopted, "eth0");
    let links = links_of(&adopted);
    let create = format!("sandbox create one --netns {path} -p 8081:80");
    assert_undone(&fixture, &adopted, &links, &create, "eth0");
    adopted.exec("ip link del other");
    fixture.cli_ok(&create);
    fixture.serve_echo("one");
    fixture.assert_published(8081, "one");
}

#[test]
fn used_interface_name_for_the_second_endpoint_reverses_the_first() {
    let fixture = fixture();
    let adopted = Netns::new("adopted");
    let path = adopted.path().display().to_string();
    occupy(&adopted, "eth1");
    let links = links_of(&adopted);
    let create =
        format!("sandbox create one --netns {path} --network bridge --network blue -p 8081:80");
    assert_undone(&fixture, &adopted, &links, &create, "eth1");

    fixture.cli_ok(&format!("sandbox create one --netns {path}"));
    let links = links_of(&adopted);
    let connect = "network connect blue one";
    assert_undone(&fixture, &adopted, &links, connect, "eth1");
    adopted.exec("ip link del other");
    fixture.cli_ok(connect);
}

#[test]
fn conflicting_address_in_the_namespace_leaves_a_consistent_node() {
    let fixture = fixture();
    let adopted = Netns::new("adopted");
    let path = adopted.path().display().to_string();
    adopted.exec("ip link add other type bridge");
    adopted.exec("ip link set other up");
    adopted.exec("ip addr add 172.17.0.77/16 dev other");
    adopted.exec("ip route add default dev other");
    let before = links_of(&adopted);
    let created = fixture.cli(&format!("sandbox create one --netns {path}"));
    if created.status == Some(0) {
        fixture.cli_ok("sandbox rm one");
    }
    assert_consistent(&fixture);
    assert_eq!(links_of(&adopted), before);
}
