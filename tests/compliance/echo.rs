//! Echo requests and replies.

use std::thread;

use netpath_tests::{
    fixture::{HOST, NETWORK_A, OUTSIDE},
    peer,
};

use crate::{
    flow::{Ends, FlowProtocol},
    gate::Offloads,
};

/// I-1: two sandboxes ping one destination with the same identifier at the same time and receive their own replies. A
/// free identifier is kept, whatever the destination.
pub fn identifiers(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let [a, b] = ["a", "b"].map(|name| fixture.sandbox(name, "network_a", &[]));
    for address in [OUTSIDE.0, OUTSIDE.1] {
        thread::scope(|scope| {
            for sandbox in [&a, &b] {
                // The payload is random, so that the reply to another request does not count.
                scope.spawn(|| assert_eq!(peer::ping(&sandbox.netns, address, 7, 20), 20));
            }
        });
        let program = format!("ping -q -n -c 5 -i 0.05 -W 3 -e 77 {address}");
        thread::scope(|scope| {
            for sandbox in [&a, &b] {
                scope.spawn(|| sandbox.netns.exec(&program));
            }
        });
        let flows = fixture.flows(&["--address", address]);
        assert_eq!(flows.len(), 4, "{flows:#?}");
    }
    let ends = Ends::new(&fixture, &a);
    for family in [0, 1] {
        let mut flow = ends.outbound(family, FlowProtocol::Echo, 4711);
        for _ in 0..2 {
            flow.opens_inside();
            flow.remote.0 = [
                [203, 0, 113, 8].into(),
                "2001:db8:203::8".parse().expect("v6"),
            ][family];
        }
        let host: std::net::IpAddr = [HOST.0, HOST.1][family].parse().expect("an address");
        assert_eq!(flow.outer.0, host);
    }
    fixture.assert_clean(&[&a, &b]);
}
