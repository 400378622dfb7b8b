//! Identifications of datagrams that are translated as fragments.

use std::collections::BTreeSet;

use netpath_tests::{
    packet::{Packet, fragments::fragment_id},
    prog::{Family, MAC_OUTSIDE, MAC_UPLINK, PacketContext, Prog, Setup, UPLINK_EGRESS},
};

/// A fragment of a sandbox's datagram, as the uplink sends it.
fn part(family: Family, id: u16, offset: u16) -> Packet {
    Packet::ip(family.sandbox(1), family.client())
        .eth(MAC_UPLINK, MAC_OUTSIDE)
        .udp(61_500, 5353)
        .payload(&[7; 64])
        .id(id)
        .fragment(offset, true)
}

fn sent(prog: &mut Prog, packet: &Packet) -> u32 {
    fragment_id(
        &prog
            .run(UPLINK_EGRESS, &PacketContext::at("eth0"), &packet.build())
            .packet,
    )
}

#[test]
fn repeated_first_fragment_keeps_the_identification() {
    Prog::with(Setup::default(), |prog| {
        for family in Family::BOTH {
            let first = sent(prog, &part(family, 1, 0));
            assert_ne!(first, 1, "a new one");
            for offset in [9, 0, 18, 0, 27] {
                let id = sent(prog, &part(family, 1, offset));
                assert_eq!(id, first, "{family:?} at {offset}");
            }
            assert_ne!(sent(prog, &part(family, 2, 0)), first, "another datagram");
        }
    });
}

#[test]
fn datagrams_have_distinct_unpredictable_identifications() {
    const DATAGRAMS: u16 = 2_000;
    Prog::with(Setup::default(), |prog| {
        for family in Family::BOTH {
            let ids: Vec<u32> = (0..DATAGRAMS)
                .map(|id| sent(prog, &part(family, id, 0)))
                .collect();
            let distinct: BTreeSet<_> = ids.iter().collect();
            assert_eq!(distinct.len(), ids.len(), "{family:?}");
            let steps: BTreeSet<_> = ids
                .windows(2)
                .map(|pair| pair[1].wrapping_sub(pair[0]))
                .collect();
            assert!(steps.len() > 1_500, "{family:?}: {} steps", steps.len());
        }
    });
}
