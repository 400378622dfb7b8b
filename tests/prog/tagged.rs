//! VLAN tags in packet metadata. A test run cannot set one, so a device sends the packet.

use std::{process::Command, thread, time::Duration};

use netpath::plan::{Attachment, Hook};
use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{Family, MAC_OUTSIDE, MAC_UPLINK, Prog, Setup, gateway_mac, sandbox_mac},
};

fn count(prog: &Prog, reason: Reason) -> u64 {
    let counters = prog.counters();
    let found = counters.iter().find(|(other, ..)| *other == reason);
    found.map_or(0, |(_, packets, _)| *packets)
}

/// Python program that sends its argument, a frame in hexadecimal, through a device.
const SENDER: &str = "import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
s.send(bytes.fromhex(sys.argv[2]))";

/// Sends a frame with a tag from one end of a veth pair.
fn send_tagged(device: &str, packet: &Packet) {
    let frame = packet.clone().vlan(5).build();
    let text: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let status = Command::new("python3")
        .args(["-c", SENDER, device, &text])
        .status();
    assert!(status.expect("python3").success());
}

#[test]
fn tagged_frame_is_dropped_at_an_endpoint_and_passed_at_an_uplink() {
    Prog::with(Setup::default(), |prog| {
        for (interface, hook) in [
            ("ve1", Hook::EndpointIngress),
            ("eth0", Hook::UplinkIngress),
        ] {
            let interface = interface.to_owned();
            let attachment = Attachment::new(interface, hook);
            prog.datapath.attach(&attachment).expect("attach");
        }
        let family = Family::BOTH[0];
        let outbound = Packet::ip(family.sandbox(1), family.client()).udp(1, 2);
        send_tagged("vi1", &outbound.eth(sandbox_mac(1), gateway_mac(1)));
        let not_ours = count(prog, Reason::NotOurs);
        let inbound = Packet::ip(family.client(), family.host()).udp(1, 5353);
        send_tagged("eth0p", &inbound.eth(MAC_OUTSIDE, MAC_UPLINK));
        for _ in 0..100 {
            let tagged = count(prog, Reason::Tagged);
            if tagged > 0 && count(prog, Reason::NotOurs) > not_ours {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("not counted: {:?}", prog.counters());
    });
}
