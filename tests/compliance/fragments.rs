//! Fragmented datagrams.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    Netns, Transport, counters,
    fixture::{HOST, NETWORK_A, OUTSIDE},
    packet::{ORDERS, Packet},
    peer,
};

use crate::{
    datagrams::Datagrams,
    flow::{Ends, FlowProtocol, PUBLISHED, TARGET, address},
    gate::{Offloads, run_in_parallel},
    segments::published,
};
use tempfile::TempDir;

/// Bytes of each fragment but the last.
const FRAGMENT_BYTES: usize = 800;

/// Divides a UDP datagram into fragments.
fn fragments(datagram: &Packet, id: u16) -> [Packet; 3] {
    let header = if datagram.is_v4() { 34 } else { 54 };
    let protocol = 17;
    let bytes = datagram.build()[header..].to_vec();
    let mut fragments = bytes
        .chunks(FRAGMENT_BYTES)
        .enumerate()
        .map(|(number, fragment)| {
            let offset = u16::try_from(number * FRAGMENT_BYTES / 8).expect("small");
            let more = (number + 1) * FRAGMENT_BYTES < bytes.len();
            // The first fragment's bytes contain the transport header.
            let fragment = datagram.clone().protocol(protocol).payload(fragment);
            fragment.id(id).fragment(offset, more)
        });
    [0; 3].map(|_| fragments.next().expect("three fragments"))
}

fn payload(mark: u16) -> Vec<u8> {
    let text = format!("{mark:05}").repeat(400);
    text.into_bytes()
}

/// U-14: fragmented datagrams arrive complete, from packet sockets and from network stacks.
pub fn pass(offloads: Offloads) {
    run_in_parallel(offloads, &[any_order, large_dns_replies]);
}

/// Large replies of a name server, to a published port and to a sandbox.
fn large_dns_replies(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let server = fixture.sandbox("server", "network_a", &["5300:5300/udp"]);
    let client = fixture.sandbox("client", "network_a", &[]);
    let directory = TempDir::with_prefix("npt-nsd-").expect("directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let texts: String = (0..14)
        .map(|number| format!("large IN TXT \"{number:02}{}\"\n", "x".repeat(200)))
        .collect();
    let zone =
        format!("$TTL 60\n@ IN SOA ns.test. admin.test. 1 60 60 60 60\n@ IN NS ns.test.\n{texts}");
    let zone = write("zone", &zone);
    let configuration = write(
        "nsd.conf",
        &format!(
            "server:\n port: 5300\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n zonesdir: \"/\"\n \
             xfrdfile: \"\"\n zonelistfile: \"{0}/zones\"\n xfrdir: \"{0}\"\n ipv4-edns-size: 4096\n \
             ipv6-edns-size: 4096\n rrl-ratelimit: 0\n\
             remote-control:\n control-enable: no\n\
             zone:\n name: test\n zonefile: \"{zone}\"\n",
            directory.path().display()
        ),
    );
    let queries = write("queries", "large.test TXT\n");
    for (server_netns, client_netns, addresses) in [
        (&server.netns, fixture.outside(), HOST),
        (fixture.outside(), &client.netns, OUTSIDE),
    ] {
        let mut nsd = server_netns.start(&["nsd", "-d", "-c", &configuration]);
        nsd.wait_for_port(server_netns, Transport::Udp, 5300);
        for address in [addresses.0, addresses.1] {
            let command = format!("dnsperf -s {address} -p 5300 -d {queries} -e -n 300 -q 4 -t 5");
            let report = client_netns.exec(&command);
            for part in ["Queries lost:         0 (0.00%)", "NOERROR 300 (100.00%)"] {
                assert!(report.contains(part), "{address}: {report}");
            }
        }
        let fragments =
            counters(server_netns)["IpFragCreates"].min(counters(server_netns)["Ip6FragCreates"]);
        assert!(fragments >= 300, "{fragments}");
    }
    fixture.assert_clean(&[&server, &client]);
}

/// Fragments in any order arrive as one datagram, in both directions, as first packets and as replies; those of two
/// senders with one identification are not mixed.
fn any_order(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (sandbox, ends) = published(&fixture);
    let second = fixture.sandbox("second", "network_a", &[]);
    let other = Ends::new(&fixture, &second);
    for family in [0, 1] {
        let outside = address(OUTSIDE, family);
        let text = outside.to_string();
        let remote = Datagrams::bind(fixture.outside(), &text, 7000);
        let server = Datagrams::bind(&sandbox.netns, sandbox.addresses()[family], TARGET);
        let client = Datagrams::bind(&sandbox.netns, sandbox.addresses()[family], 5000);
        // A flow from the sandbox.
        let out = ends.outbound(family, FlowProtocol::Udp, 5000).to(outside);
        // A flow to the published port.
        let inward = ends.inbound(family, FlowProtocol::Udp, 7000).to(outside);
        assert_eq!(inward.outer.1, PUBLISHED);
        for (number, order) in (0_u16..).zip(ORDERS) {
            let id = 0x100 + 16 * number;
            let what = |direction: &str| format!("{direction}, {order:?}, family {family}");
            let send = |packet: &Packet, id: u16, inside: bool| {
                let fragments = fragments(&packet.clone().payload(&payload(id)), id);
                for index in order {
                    if inside {
                        ends.send_inside(&fragments[index]);
                    } else {
                        ends.send_outside(&fragments[index]);
                    }
                }
            };
            send(&out.sent_inside(), id, true);
            expect(&remote, id, &what("outbound"));
            send(&out.sent_outside(), id + 1, false);
            expect(&client, id + 1, &what("reply to outbound"));
            send(&inward.sent_outside(), id + 2, false);
            expect(&server, id + 2, &what("inbound"));
            send(&inward.sent_inside(), id + 3, true);
            expect(&remote, id + 3, &what("reply to inbound"));
            // The first packet of a flow is fragmented.
            let new_flow = ends
                .outbound(family, FlowProtocol::Udp, 5100 + number)
                .to(outside);
            send(&new_flow.sent_inside(), id + 4, true);
            expect(&remote, id + 4, &what("first outbound packet"));
            let new_flow = ends
                .inbound(family, FlowProtocol::Udp, 6100 + number)
                .to(outside);
            send(&new_flow.sent_outside(), id + 5, false);
            expect(&server, id + 5, &what("first inbound packet"));
        }
        // Two sandboxes send interleaved fragments with one identification to one receiver.
        let one = fragments(&out.sent_inside().payload(&payload(1)), 0x7777);
        let two = other.outbound(family, FlowProtocol::Udp, 5001).to(outside);
        let two = fragments(&two.sent_inside().payload(&payload(2)), 0x7777);
        for (a, b) in one.iter().zip(&two) {
            ends.send_inside(a);
            other.send_inside(b);
        }
        let mut received = [(); 2].map(|()| remote.receive("both").0.into_bytes());
        received.sort();
        assert!(
            received == [payload(1), payload(2)],
            "fragments of two datagrams were mixed"
        );
        stack_datagrams(&fixture.outside().clone(), &sandbox.netns, family);
    }
    fixture.assert_clean(&[&sandbox, &second]);
}

#[track_caller]
fn expect(socket: &Datagrams, mark: u16, what: &str) {
    let (text, _) = socket.receive(what);
    assert!(text.as_bytes() == payload(mark), "{what}: {text}");
}

/// Sends a datagram of many fragments from a network stack, and its echo.
fn stack_datagrams(outside: &Netns, sandbox: &Netns, family: usize) {
    let own = [OUTSIDE.0, OUTSIDE.1][family];
    let server = Datagrams::bind(outside, own, 7300);
    let client = Datagrams::bind(sandbox, "::", 0);
    let text = "0123456789".repeat(3000);
    client.send((own, 7300), &text);
    let (received, port) = server.receive("thirty kilobytes");
    assert!(received == text, "thirty kilobytes");
    server.send(([HOST.0, HOST.1][family], port), &text);
    assert!(client.receive("thirty kilobytes back").0 == text);
}

/// U-14a: a flood of later fragments without a first one does not affect other flows, and uses bounded memory.
pub fn flood(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (sandbox, ends) = published(&fixture);
    let _server = peer::serve_blobs(fixture.outside(), 7000);
    let (running, sent) = (AtomicBool::new(true), AtomicU32::new(0));
    let bytes = || -> u64 {
        let maps = fixture.daemon.json(&["map", "ls"]);
        let maps = maps.as_array().into_iter().flatten();
        maps.filter_map(|map| map["bytes"].as_u64()).sum()
    };
    let before = bytes();
    thread::scope(|scope| {
        scope.spawn(|| {
            let later_fragment = |id: u16| {
                let flow = ends.inbound(usize::from(id % 2), FlowProtocol::Udp, 4000);
                let packet = flow.sent_outside().protocol(17).payload(&[7; 640]);
                let packet = packet.id(id).fragment(80, true);
                packet.eth(ends.outside.mac, ends.host).build()
            };
            let later_fragments: Vec<_> = (0..10_000).map(later_fragment).collect();
            for frame in later_fragments.iter().cycle() {
                if !running.load(Ordering::Relaxed) {
                    return;
                }
                ends.outside.send(frame);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        while sent.load(Ordering::Relaxed) < 10_000 {
            assert!(start.elapsed() < Duration::from_secs(20), "no flood");
            thread::sleep(Duration::from_millis(5));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for address in [OUTSIDE.0, OUTSIDE.1] {
                assert_eq!(peer::ping(&sandbox.netns, address, 9, 50), 50, "{address}");
                peer::exchange(&sandbox.netns, address, 7000, 4);
            }
        }));
        running.store(false, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(
        bytes() <= before + before / 10,
        "memory grows: {before} to {}",
        bytes()
    );
    // Fragments in order still pass.
    for family in [0, 1] {
        stack_datagrams(fixture.outside(), &sandbox.netns, family);
    }
    fixture.assert_clean(&[&sandbox]);
}
