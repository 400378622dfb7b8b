//! Quotas of shared resources.

use netpath_tests::{
    fixture::{Fixture, OUTSIDE},
    packet::{ACK, SYN},
    peer::{self, Request, SocketType},
};

use crate::{
    flow::{Ends, Flow, FlowProtocol},
    gate::Offloads,
    segments::published,
};

const QUOTA: u16 = 150;
/// Number of flows attempted after the quota is reached.
const MORE: u16 = 40;

/// C-4, C-5: a sandbox is limited to its quota of TCP flows, whether it or a peer opens them. Its existing flows continue,
/// and another sandbox is not affected.
pub fn flows(offloads: Offloads) {
    let fixture = offloads.configured(&format!("[limits]\nflows_per_sandbox = {QUOTA}\n"));
    let (_web, published) = published(&fixture);
    let greedy = fixture.sandbox("greedy", "network_a", &[]);
    let neighbour = fixture.sandbox("neighbour", "network_a", &[]);
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);
    fill(
        &fixture,
        "web",
        &|number| published.inbound(usize::from(number % 2), FlowProtocol::Tcp, 10_000 + number),
        &|flow, more| {
            if more {
                published.send_outside(&flow.sent_outside().flags(SYN));
            } else {
                flow.arrives("the SYN", |packet| packet.flags(SYN));
                flow.leaves("the reply", |packet| packet.flags(SYN | ACK));
                flow.arrives("the end of the handshake", |packet| packet.flags(ACK));
            }
        },
    );
    // Opened now, because a packet socket has room for a few hundred frames.
    let ends = Ends::new(&fixture, &greedy);
    fill(
        &fixture,
        "greedy",
        &|number| ends.outbound(usize::from(number % 2), FlowProtocol::Tcp, 5000 + number),
        &|flow, more| {
            if more {
                ends.send_inside(&flow.sent_inside().flags(SYN));
            } else {
                flow.leaves("the SYN", |packet| packet.flags(SYN));
                flow.arrives("the reply", |packet| packet.flags(SYN | ACK));
                flow.leaves("the end of the handshake", |packet| packet.flags(ACK));
            }
        },
    );
    for address in [OUTSIDE.0, OUTSIDE.1] {
        for socket_type in [SocketType::Tcp, SocketType::Udp] {
            let many: Vec<_> = (0..30)
                .map(|_| Request::new(socket_type, address, 7000))
                .collect();
            peer::send_requests(&neighbour.netns, &many);
        }
    }
    fixture.assert_clean(&[&greedy, &neighbour]);
}

/// Opens flows up to the quota, and attempts more.
fn fill<'a>(
    fixture: &Fixture,
    sandbox: &str,
    flow: &dyn Fn(u16) -> Flow<'a>,
    open: &dyn Fn(&Flow<'a>, bool),
) {
    let number_of_flows = || fixture.flows(&["--sandbox", sandbox]).len();
    assert_eq!(number_of_flows(), 0);
    for number in 0..QUOTA {
        open(&flow(number), false);
    }
    assert_eq!(number_of_flows(), usize::from(QUOTA), "{sandbox}");
    let before = fixture.counted("drop_quota");
    for number in QUOTA..QUOTA + MORE {
        open(&flow(number), true);
    }
    assert_eq!(number_of_flows(), usize::from(QUOTA), "{sandbox}");
    let refused = fixture.counted("drop_quota") - before;
    assert_eq!(refused, u64::from(MORE), "{sandbox}");
    for number in [0, 1, QUOTA - 2, QUOTA - 1] {
        flow(number).leaves("a packet of an existing flow", |packet| packet.flags(ACK));
        flow(number).arrives("a reply of an existing flow", |packet| packet.flags(ACK));
    }
}
