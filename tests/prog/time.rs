//! Prints the time that each program takes per packet.

use netpath_tests::{
    packet::{Packet, SYN},
    prog::{
        ENDPOINT_IN, Family, MAC_OUTSIDE, MAC_UPLINK, PacketContext, Prog, Setup, UPLINK_EGRESS,
        UPLINK_INGRESS, gateway_mac, sandbox_mac,
    },
};

const REPEAT: usize = 1_000;

#[test]
fn serial_time_per_packet_is_printed() {
    Prog::with(Setup::default(), |prog| {
        for family in Family::BOTH {
            let inbound = Packet::ip(family.client(), family.host()).eth(MAC_OUTSIDE, MAC_UPLINK);
            let outbound = Packet::ip(family.sandbox(1), family.client());
            let inside = outbound.clone().eth(sandbox_mac(1), gateway_mac(1));
            let rows = [
                (
                    "published",
                    UPLINK_INGRESS,
                    "eth0",
                    inbound.clone().tcp(1, 8080, SYN),
                ),
                (
                    "of the host",
                    UPLINK_INGRESS,
                    "eth0",
                    inbound.tcp(1, 22, SYN),
                ),
                (
                    "translated",
                    UPLINK_EGRESS,
                    "eth0",
                    outbound.tcp(61_500, 80, SYN),
                ),
                ("sent out", ENDPOINT_IN, "ve1", inside.tcp(61_500, 80, SYN)),
            ];
            for (what, program, device, packet) in rows {
                let time = prog.time(program, &PacketContext::at(device), &packet.build(), REPEAT);
                println!("{:?} {what:<12}{:>6} ns", family, time.as_nanos());
            }
        }
    });
}
