//! The machine of the measurement.

use std::{fs, process::Command, thread};

use serde_json::{Value, json};

/// Kernel, processor, versions, and the load before the measurement.
pub fn facts() -> Value {
    json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cores": thread::available_parallelism().map_or(1, usize::from),
        "processor": processor(),
        "bpf_jit": read("/proc/sys/net/core/bpf_jit_enable"),
        "netpath": env!("CARGO_PKG_VERSION"),
        "iptables": version("iptables", "--version"),
        "iperf3": version("iperf3", "--version"),
        "load_before": load(),
    })
}

/// The load average over the last minute, including this program.
pub fn load() -> f64 {
    let text = read("/proc/loadavg");
    let first = text.split(' ').next();
    first.and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": "))
        .map_or("unknown", |(_, name)| name)
        .to_owned()
}

fn version(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}
