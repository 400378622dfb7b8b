//! Connections of the host itself at a published port.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use netpath_tests::{
    connect_from,
    packet::{ACK, Packet},
    prog::{Family, MAC_OUTSIDE, MAC_UPLINK, PacketContext, Prog, Setup, UPLINK_INGRESS},
};

/// A connection of the host may use a port that is published later.
#[test]
fn segment_of_a_host_connection_opens_no_flow() {
    Prog::with(Setup::default(), |prog| {
        for family in Family::BOTH {
            let (host, client) = (family.host(), family.client());
            let segment = Packet::ip(client, host)
                .eth(MAC_OUTSIDE, MAC_UPLINK)
                .tcp(40_000, 8080, ACK);
            let passes = |prog: &mut Prog| {
                prog.forget_flows();
                let bytes = segment.build();
                let outcome = prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &bytes);
                outcome.packet == bytes && prog.flows().is_empty()
            };
            let listener = TcpListener::bind((host, 8080)).expect("bind");
            assert!(!passes(prog), "{family:?}: a listener has no connection");
            let (length, flags) = if family.is_v4() {
                (32, "")
            } else {
                (128, "nodad")
            };
            let ip = |verb: &str| {
                let command = format!("ip addr {verb} {client}/{length} dev lo {flags}");
                let status = Command::new("sh").args(["-c", &command]).status();
                assert!(status.expect("sh").success(), "{command}");
            };
            ip("add");
            let connection = connect(client, host);
            assert!(passes(prog), "{family:?}: the host has the connection");
            drop(connection);
            ip("del");
            drop(listener);
        }
    });
}

/// A connection of the node with the tuple of a connection from outside.
fn connect(client: IpAddr, host: IpAddr) -> TcpStream {
    let (client, host) = (SocketAddr::new(client, 40_000), SocketAddr::new(host, 8080));
    connect_from(client, host, Duration::from_secs(3)).expect("connect")
}
