//! Packet captures that are kept only when a test fails.

use std::{fs, thread, time::Duration};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{Netns, Process, artifacts};

/// A running `tcpdump`. If the test panics, its file is copied to `target/test-artifacts/TEST/HOST-DEVICE.pcap`.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    directory: TempDir,
    name: String,
}

impl Capture {
    /// Captures whole packets on a device; `any` means all devices.
    #[track_caller]
    pub fn start(netns: &Netns, device: &str) -> Self {
        Self::with(netns, device, &["-s", "0"])
    }

    /// Captures the headers of the first packets only, for tests that transfer much data.
    #[track_caller]
    pub fn first(netns: &Netns, device: &str, packets: u32) -> Self {
        Self::with(netns, device, &["-s", "160", "-c", &packets.to_string()])
    }

    #[track_caller]
    fn with(netns: &Netns, device: &str, arguments: &[&str]) -> Self {
        let directory = TempDir::with_prefix("npt-capture-").expect("temporary directory");
        let name = format!("{}-{device}.pcap", netns.name());
        let file = directory.path().join(&name);
        let file = file.to_string_lossy();
        // Without -Z, tcpdump writes as a user that has no access to the directory.
        let mut command = vec!["tcpdump", "-i", device, "-w", &file, "-U", "-Z", "root"];
        command.push("--immediate-mode");
        command.extend(arguments);
        let mut tcpdump = netns.start(&command);
        tcpdump.wait_for_output("listening on");
        Self {
            tcpdump,
            directory,
            name,
        }
    }

    /// The packets captured so far, one per line, in the format of `tcpdump -nn -e` with these further arguments.
    pub fn packets(&self, netns: &Netns, arguments: &[&str]) -> String {
        // tcpdump reads packets from the kernel with a delay.
        thread::sleep(Duration::from_millis(200));
        let file = self.directory.path().join(&self.name);
        let file = file.to_string_lossy();
        let mut command = vec!["tcpdump", "-nn", "-e", "-r", &file];
        command.extend(arguments);
        netns.run(&command).success()
    }

    /// The number of packets captured so far that match a display filter of tshark, which verifies every checksum.
    pub fn decoded(&self, netns: &Netns, filter: &str) -> u64 {
        thread::sleep(Duration::from_millis(200));
        let file = self.directory.path().join(&self.name);
        let file = file.to_string_lossy();
        let mut command = vec!["tshark", "-n", "-r", &file, "-Y", filter];
        command.extend(["-T", "fields", "-e", "frame.number"]);
        for checked in [
            "ip.check_checksum:TRUE",
            "tcp.check_checksum:TRUE",
            "udp.check_checksum:TRUE",
        ] {
            command.extend(["-o", checked]);
        }
        netns.run(&command).success().lines().count() as u64
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.tcpdump.ended().is_none() {
            self.tcpdump.signal(Signal::SIGINT);
        }
        if thread::panicking() {
            thread::sleep(Duration::from_millis(200));
            let kept = artifacts().join(&self.name);
            match fs::copy(self.directory.path().join(&self.name), &kept) {
                Ok(_) => eprintln!("--- capture: {}", kept.display()),
                Err(error) => eprintln!("--- no capture in {}: {error}", kept.display()),
            }
        }
    }
}
