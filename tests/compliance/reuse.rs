//! Connections that reuse ports, that last long, and that survive the loss of the table.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    Netns,
    fixture::{EchoClient, HOST, NETWORK_A, OUTSIDE, serve_echo},
    packet::{ACK, Packet, SYN},
    peer, pin_names,
};

use crate::{
    flow::{FlowProtocol, TARGET},
    gate::Offloads,
    segments::published,
};

/// `HOST:PORT` of an address of either family.
pub fn at(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// T-12: many short connections from few ports; none fails, and none waits for a retransmission.
pub fn tuples(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80"]);
    let client = fixture.sandbox("client", "network_a", &[]);
    let _web = peer::serve(&web.netns, "web", &["80"]);
    let _outside = peer::serve(fixture.outside(), "outside", &["7000"]);
    for netns in [&client.netns, fixture.outside()] {
        netns.sysctl("net/ipv4/ip_local_port_range", "20000 20039");
    }
    for (netns, addresses, port) in [
        (&client.netns, OUTSIDE, 7000),
        (fixture.outside(), HOST, 8080),
        (&client.netns, HOST, 8080),
    ] {
        for address in [addresses.0, addresses.1] {
            short_connections(netns, &at(address, port));
        }
    }
    fixture.assert_clean(&[&web, &client]);
}

fn short_connections(netns: &Netns, to: &str) {
    netns.enter(|| {
        for number in 0..200 {
            let start = Instant::now();
            let limit = Duration::from_secs(5);
            let address = to.parse().expect("an address");
            let stream = TcpStream::connect_timeout(&address, limit);
            let mut stream = stream.unwrap_or_else(|error| panic!("{to}, {number}: {error}"));
            // The server closes first, so that the client's port is not in TIME_WAIT.
            let reply = std::io::read_to_string(&mut stream).expect("a reply");
            assert!(reply.contains("peer_port"), "{to}, {number}: {reply}");
            let took = start.elapsed();
            assert!(
                took < Duration::from_millis(900),
                "{to}, {number}: {took:?}"
            );
        }
    });
}

/// T-13: streams survive a killed daemon and new programs. A connection to a published port survives the loss of the
/// table; a connection from a sandbox does not.
pub fn reload(offloads: Offloads) {
    let mut fixture = offloads.fixture();
    let (sandbox, ends) = published(&fixture);
    serve_echo(&sandbox.netns, 80, "web");
    serve_echo(fixture.outside(), 7000, "outside");
    let mut lines = Vec::new();
    for family in [0, 1] {
        let (host, outside) = ([HOST.0, HOST.1][family], [OUTSIDE.0, OUTSIDE.1][family]);
        let dial =
            |netns: &Netns, to: String| netns.enter(|| EchoClient::connect(&to).expect("a line"));
        lines.push(dial(fixture.outside(), at(host, 8080)));
        lines.push(dial(&sandbox.netns, at(outside, 7000)));
    }
    let blobs = peer::serve_blobs(fixture.outside(), 7001);
    let netns = sandbox.netns.clone();
    let busy = thread::spawn(move || {
        for _ in 0..3 {
            peer::exchange(&netns, OUTSIDE.0, 7001, 12);
        }
    });
    for _ in 0..2 {
        fixture.daemon.kill9();
        lines.iter_mut().for_each(EchoClient::exchange_line);
        fixture.daemon.restart();
        lines.iter_mut().for_each(EchoClient::exchange_line);
    }
    busy.join().expect("the busy stream");
    drop(blobs);
    // A veth device queues a limited number of packets.
    for wire in [&ends.inside, &ends.outside] {
        wire.drain();
    }

    for family in [0, 1] {
        let inward = ends.inbound(family, FlowProtocol::Tcp, 4000);
        assert_eq!(inward.inner.1, TARGET);
        inward.arrives("a segment without a flow, inbound", |packet| {
            packet.flags(ACK)
        });
        inward.leaves("its reply", |packet| packet.flags(ACK));
        let out = ends.outbound(family, FlowProtocol::Tcp, 5000);
        let before = fixture.counted("drop_no_flow");
        ends.send_inside(&middle(out.sent_inside()));
        let left = middle(out.received_outside()).build();
        ends.outside
            .expect_nothing("a segment without a flow, outbound", |frame| {
                frame[12..] == left[12..]
            });
        assert_eq!(fixture.counted("drop_no_flow"), before + 1);
        out.leaves("a new connection", |packet| packet.flags(SYN));
    }
    let directory = fixture.daemon.bpf_dir();
    let pins = pin_names(&directory).into_iter();
    let flows = pins.filter(|pin| pin.ends_with("flows"));
    for pin in flows {
        empty(fixture.host(), &directory.join(pin).display().to_string());
    }
    assert!(fixture.flows(&[]).is_empty(), "the table is empty");
    // Both ends of connections to the published port continue, whichever sends first.
    lines[0].exchange_line();
    lines[2].exchange_line();
    fixture.topology.assert_clean();
}

fn middle(packet: Packet) -> Packet {
    packet.flags(ACK)
}

/// Deletes every entry of a map.
fn empty(host: &Netns, pin: &str) {
    let dump = host.run(&["bpftool", "-j", "map", "dump", "pinned", pin]);
    let entries: serde_json::Value = serde_json::from_str(&dump.success()).expect("JSON");
    for entry in entries.as_array().expect("entries") {
        let key = entry["key"].as_array().expect("bytes");
        let key: Vec<&str> = key.iter().filter_map(|byte| byte.as_str()).collect();
        let mut command = vec!["bpftool", "map", "delete", "pinned", pin, "key"];
        command.extend(key);
        host.run(&command).success();
    }
}
