//! Functions of the stack that redirected packets skip, so the programs have them too.

use netpath_tests::{
    Netns, Process,
    fixture::{Fixture, GATEWAY_A, HOST, NETWORK_A, NO_OFFLOADS, OUTSIDE, Sandbox, Topology},
    mac_of, peer,
};

/// Forwards frames between the devices `wire` and `eth0`. Those to `eth0` get a priority tag.
const TAGGER: &str = "import select, socket
def opened(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind((name, 0))
    return s
wire, uplink = opened('wire'), opened('eth0')
print('ready', flush=True)
while True:
    for s in select.select([wire, uplink], [], [])[0]:
        frame, address = s.recvfrom(65535)
        if address[2] == 4:
            continue
        if s is wire:
            uplink.send(frame[:12] + bytes([0x81, 0, 0xa0, 0]) + frame[12:])
        else:
            wire.send(frame)";

/// Makes the outside send every packet with a priority tag.
fn send_priority_tags(fixture: &Fixture) -> Process {
    let outside = fixture.outside();
    let mac = mac_of(outside, "eth0").map(|byte| format!("{byte:02x}"));
    let mac = mac.join(":");
    outside.exec(&format!(
        "ip link add stack address {mac} type veth peer name wire"
    ));
    outside.sysctl("net/ipv6/conf/stack/accept_dad", "0");
    for device in ["stack", "wire"] {
        outside.exec(&format!("ethtool -K {device} {NO_OFFLOADS}"));
        outside.exec(&format!("ip link set {device} up"));
    }
    for (address, length) in [(OUTSIDE.0, 24), (OUTSIDE.1, 64)] {
        outside.exec(&format!("ip addr del {address}/{length} dev eth0"));
        outside.exec(&format!("ip addr add {address}/{length} dev stack"));
    }
    let mut tagger = outside.start(&["python3", "-c", TAGGER]);
    tagger.wait_for_output("ready");
    tagger
}

#[test]
fn class4_priority_tagged_frames_are_handled_as_untagged() {
    let mut fixture = Fixture::on(Topology::builder().without_offloads().build());
    fixture.offloads = false;
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let _server = peer::serve(&web.netns, "web", &["80"]);
    let _outside = peer::serve(fixture.outside(), "outside", &["7000"]);
    let _tagger = send_priority_tags(&fixture);

    for reply in peer::send_requests(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    ) {
        assert!(
            [OUTSIDE.0, OUTSIDE.1].contains(&reply.peer.as_str()),
            "{reply:?}"
        );
    }
    peer::assert_pings(&web.netns, [OUTSIDE.0, OUTSIDE.1], true);
    let blobs = peer::serve_blobs(&web.netns, 81);
    fixture.cli_ok("port publish web 8081:81");
    for address in [HOST.0, HOST.1] {
        peer::exchange(fixture.outside(), address, 8081, 4);
    }
    drop(blobs);
    // Datagrams of several fragments, each with a tag.
    for address in [HOST.0, HOST.1] {
        let code = datagram(address, 8080, 4000);
        fixture.outside().run(&["python3", "-c", &code]).success();
    }
    // Neither whole packets nor later fragments reach an address of a sandbox.
    let outside = fixture.outside();
    for (subnet, via) in [(NETWORK_A.0, HOST.0), (NETWORK_A.1, HOST.1)] {
        outside.exec(&format!("ip route add {subnet} via {via}"));
    }
    let before = fixture.counted("drop_direct_access");
    for address in web.addresses() {
        let code = format!(
            "import socket
s = socket.socket(socket.{}, socket.SOCK_DGRAM)
s.sendto(bytes(4000), ('{address}', 80))",
            if address.contains(':') {
                "AF_INET6"
            } else {
                "AF_INET"
            },
        );
        outside.run(&["python3", "-c", &code]).success();
    }
    fixture.wait_for("fragments to be dropped", || {
        fixture.counted("drop_direct_access") - before >= 6
    });
    fixture.assert_clean(&[&web]);
}

/// A program that sends a datagram of `size` bytes and fails without a reply.
fn datagram(address: &str, port: u16, size: usize) -> String {
    let family = if address.contains(':') {
        "AF_INET6"
    } else {
        "AF_INET"
    };
    format!(
        "import socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b'x' * {size}, ('{address}', {port}))
s.recv(65535)"
    )
}

#[test]
fn class4_netfilter_that_drops_forwarded_and_received_packets_does_not_affect_neighbour_discovery()
{
    let fixture = Fixture::new();
    let host = fixture.host();
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let client = fixture.sandbox("client", "network_a", &[]);
    for family in ["iptables", "ip6tables"] {
        host.sysctl(&format!("net/bridge/bridge-nf-call-{family}"), "1");
        for chain in ["FORWARD", "INPUT", "OUTPUT"] {
            host.exec(&format!("{family} -P {chain} DROP"));
        }
    }
    let _servers = [
        peer::serve(&web.netns, "web", &["80"]),
        peer::serve(fixture.outside(), "outside", &["7000"]),
    ];
    // The uplink needs its neighbours, which are no concern of netpath.
    for (address, family) in [(OUTSIDE.0, "-4"), (OUTSIDE.1, "-6")] {
        let mac = mac_of(fixture.outside(), "eth0")
            .map(|byte| format!("{byte:02x}"))
            .join(":");
        host.exec(&format!(
            "ip {family} neigh replace {address} lladdr {mac} dev eth0"
        ));
    }
    let mac = mac_of(host, "eth0")
        .map(|byte| format!("{byte:02x}"))
        .join(":");
    for address in [HOST.0, HOST.1] {
        fixture
            .outside()
            .exec(&format!("ip neigh replace {address} lladdr {mac} dev eth0"));
    }
    for netns in [&web.netns, &client.netns] {
        netns.exec("ip neigh flush all");
    }

    for reply in peer::send_requests(
        &client.netns,
        &peer::tcp_and_udp_requests(web.addresses(), 80),
    ) {
        assert!(
            client.addresses().contains(&reply.peer.as_str()),
            "{reply:?}"
        );
    }
    peer::send_requests(
        &client.netns,
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    peer::send_requests(
        &web.netns,
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    peer::send_requests(
        &client.netns,
        &peer::tcp_and_udp_requests([OUTSIDE.0, OUTSIDE.1], 7000),
    );
    peer::send_requests(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    // Unicast probes of the stack, from the link-local address.
    client
        .netns
        .exec("ip neigh change to fd00:88::1 nud probe dev eth0");
    fixture.wait_for("the gateway to be confirmed", || {
        client
            .netns
            .exec(&format!("ip neigh show {}", GATEWAY_A.1))
            .contains("REACHABLE")
    });
    assert!(fixture.counted("forward_neighbour") > 0);
}

#[test]
fn class4_directed_broadcast_reaches_the_sandboxes_of_the_network() {
    let fixture = Fixture::new();
    fixture.two_networks();
    let sender = fixture.sandbox("sender", "network_a", &[]);
    let sibling = fixture.sandbox("sibling", "network_a", &[]);
    let other = fixture.sandbox("other", "network_b", &[]);
    let receive = |sandbox: &Sandbox, limit: u32| {
        let code = format!(
            "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout({limit})
s.bind(('', 9000))
print('ready', flush=True)
for _ in range(3):
    data, peer = s.recvfrom(65535)
    print(len(data), peer[0], flush=True)"
        );
        let mut process = sandbox.netns.start(&["python3", "-c", &code]);
        process.wait_for_output("ready");
        process
    };
    let (mut receiver, mut foreign) = (receive(&sibling, 20), receive(&other, 2));
    let code = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.sendto(b'x' * 10, ('10.88.0.255', 9000))
s.sendto(b'x' * 11, ('255.255.255.255', 9000))
s.sendto(b'x' * 4000, ('10.88.0.255', 9000))
s.sendto(b'x' * 10, ('10.89.0.255', 9000))";
    sender.netns.run(&["python3", "-c", code]).success();
    for size in [10, 11, 4000] {
        receiver.wait_for_output(&format!("{size} {}", sender.v4));
    }
    foreign.wait_for_output("TimeoutError");
    fixture.assert_clean(&[&sender, &sibling]);
}

#[test]
fn class4_link_local_address_of_a_sibling_cannot_be_taken_over() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let [attacker, victim, client] =
        ["attacker", "victim", "client"].map(|name| fixture.sandbox(name, "network_a", &[]));
    let link_address = |netns: &Netns, device: &str| {
        let text = netns.exec(&format!("ip -6 -o addr show dev {device} scope link"));
        let address = text
            .split_ascii_whitespace()
            .find(|word| word.starts_with("fe80"));
        let (address, _) = address
            .and_then(|word| word.split_once('/'))
            .expect("link-local");
        address.to_owned()
    };
    let pings = |from: &Sandbox, to: &str| {
        let command = format!("ping -6 -c 1 -W 2 {to}%eth0");
        let words: Vec<_> = command.split(' ').collect();
        from.netns.run(&words).status == Some(0)
    };
    let port = fixture
        .host()
        .exec(&format!("ip -o link show {}", victim.host_interface));
    let mut words = port.split_ascii_whitespace();
    words.find(|word| *word == "master");
    let bridge = words.next().expect("bridge").to_owned();
    let own = link_address(&victim.netns, "eth0");
    assert!(pings(&client, &own), "the address of the MAC address");

    // A random address, which the victim announces by duplicate address detection.
    victim.netns.sysctl("net/ipv6/conf/eth0/accept_dad", "1");
    victim.netns.sysctl("net/ipv6/conf/eth0/addr_gen_mode", "3");
    victim.netns.exec("ip link set eth0 down");
    victim.netns.exec("ip link set eth0 up");
    let random = || {
        let text = victim
            .netns
            .exec("ip -6 -o addr show dev eth0 scope link -tentative");
        text.contains("fe80")
            .then(|| link_address(&victim.netns, "eth0"))
    };
    fixture.wait_for("the random address", || random().is_some());
    let random = random().expect("address");
    assert_ne!(random, own);
    assert!(pings(&client, &random), "the random address");

    let gateway = link_address(fixture.host(), &bridge);
    for stolen in [&random, &own, &gateway] {
        let before = fixture.counted("drop_link_spoofed");
        attacker
            .netns
            .exec(&format!("ip addr add {stolen}/64 dev eth0 nodad"));
        let code = format!(
            "import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
i = socket.if_nametoindex('eth0')
s.bind(('{stolen}', 0, 0, i))
s.sendto(b'x', ('ff02::1', 9000, 0, i))"
        );
        attacker.netns.run(&["python3", "-c", &code]).success();
        fixture.wait_for("a drop", || fixture.counted("drop_link_spoofed") > before);
        attacker
            .netns
            .exec(&format!("ip addr del {stolen}/64 dev eth0"));
    }
    assert!(pings(&client, &random), "the random address afterwards");
    assert!(pings(&attacker, &random), "the attacker's own address");
    fixture.assert_clean(&[&attacker, &victim]);
}

#[test]
fn class4_port_list_names_the_families_that_are_served() {
    let fixture = Fixture::new();
    fixture.cli_ok(&format!("network create four --subnet {}", NETWORK_A.0));
    fixture.network("both", ("10.90.0.0/24", "fd00:90::/64"), &[]);
    fixture.sandbox("v4", "four", &["8080:80"]);
    fixture.sandbox("dual", "both", &["8081:80", "127.0.0.1:8082:80"]);

    let table = fixture.cli_ok("port ls");
    for (port, host) in [
        (8080, "0.0.0.0:8080"),
        (8081, "*:8081"),
        (8082, "127.0.0.1:8082"),
    ] {
        let line = table
            .lines()
            .find(|line| line.contains(&port.to_string()))
            .expect("port");
        assert!(line.contains(&format!(" {host} ")), "{table}");
    }
    assert!(fixture.cli_ok("sandbox ls").contains("0.0.0.0:8080/tcp"));
    for source in ["port ls", "map dump ports"] {
        let list = fixture.json(source);
        let families = |port: u16| {
            let mut rows = list.as_array().into_iter().flatten();
            let row = rows.find(|row| row["host_port"] == port).expect("port");
            (row["host_ip"].clone(), row["families"].clone())
        };
        assert_eq!(
            families(8080),
            (serde_json::Value::Null, serde_json::json!(["ipv4"]))
        );
        assert_eq!(families(8081).1, serde_json::json!(["ipv4", "ipv6"]));
        assert_eq!(families(8082).1, serde_json::json!(["ipv4"]));
    }
}
