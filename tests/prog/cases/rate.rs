//! Endpoints with a rate. A family has a slot of its own: what a sandbox has sent counts for the next case too.

use netpath_common::reason::Reason;
use netpath_tests::{packet::SYN, prog::Family, prog::endpoint};

use crate::case::Case;
use crate::{both, case, endpoint_sends, from_sandbox};

pub fn cases() -> Vec<Case> {
    both(limited)
}

fn limited(family: Family) -> Vec<Case> {
    let (slot, other) = if family.is_v4() { (1, 2) } else { (2, 1) };
    let client = family.client();
    // At 100 kbit/s, two GSO packets take more time than the burst.
    let big = from_sandbox(family, slot, client)
        .udp(61_500, 80)
        .payload(&[7; 1_400]);
    let gso = from_sandbox(family, slot, client)
        .udp(61_500, 80)
        .payload(&[7; 3_400]);
    let expected = gso.clone().routed().source(family.host());
    let from_other = from_sandbox(family, other, family.sandbox(slot)).tcp(1, 80, SYN);
    let sent = || {
        endpoint_sends(slot, &gso)
            .gso(1_400)
            .is(Reason::Outbound)
            .sends(&expected)
            .number_of_flows(1)
    };
    let excess = |packet: &netpath_tests::packet::Packet| {
        endpoint_sends(slot, packet).is(Reason::RateExceeded)
    };
    vec![
        case(
            family,
            "packets above the rate are dropped, whatever their destination",
        )
        .change(move |prog| {
            let mut entry = endpoint(slot);
            entry.rate = "100kbit".parse().ok();
            prog.tables().put(&[(slot, entry)]).expect("endpoint");
        })
        .then(sent())
        .then(sent())
        .then(excess(&big))
        .then(excess(
            &from_sandbox(family, slot, family.host()).tcp(1, 22, SYN),
        ))
        .then(excess(
            &from_sandbox(family, slot, family.sandbox(other)).udp(1, 2),
        ))
        .then(
            endpoint_sends(
                other,
                &from_other.eth(
                    netpath_tests::prog::sandbox_mac(other),
                    netpath_tests::prog::sandbox_mac(slot),
                ),
            )
            .is(Reason::Sibling),
        ),
    ]
}
