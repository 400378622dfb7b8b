//! A TCP stream by iperf3.

use std::time::Duration;

use netpath_tests::Transport;
use serde_json::Value;

use super::{Ends, Flow, cores};

/// Without pacing, which some machines enable by default and which would limit the rate.
const CONGESTION_CONTROL: &str = "cubic";

/// Gbit/s received. iperf3 measures whole seconds only.
pub fn run(ends: &Ends<'_>, flow: Flow, time: Duration) -> f64 {
    let (client, server) = cores();
    let (address, port) = (ends.listen.ip(), ends.listen.port());
    let mut listening = ends
        .server
        .spawn(&format!("iperf3 -s -1 -B {address} -p {port} -A {server}"));
    listening.wait_for_port(ends.server, Transport::Tcp, port);
    let mut command = format!(
        "iperf3 -J -c {} -p {} -t {} -A {client} -C {CONGESTION_CONTROL} -B {}",
        ends.target.ip(),
        ends.target.port(),
        time.as_secs_f64().ceil(),
        ends.source,
    );
    if flow == Flow::ToClient {
        command += " -R";
    }
    let output = ends.client.exec(&command);
    let result: Value = serde_json::from_str(&output).expect("iperf3 prints JSON");
    let bits = &result["end"]["sum_received"]["bits_per_second"];
    bits.as_f64().expect("iperf3 says what was received") / 1e9
}
