//! Packets of a failed test as a capture file.

use std::{fs, io, path::Path};

/// Writes a pcap file with the link type Ethernet.
///
/// # Errors
/// If it cannot be written.
pub fn write_pcap(path: &Path, packets: &[&[u8]]) -> io::Result<()> {
    let mut bytes = Vec::new();
    // Magic, version 2.4, time zone, accuracy, snapshot length, link type.
    for word in [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 0xffff, 1] {
        bytes.extend(word.to_ne_bytes());
    }
    for (number, packet) in (0_u32..).zip(packets) {
        let length = packet.len() as u32;
        for word in [number, 0, length, length] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(*packet);
    }
    fs::write(path, bytes)
}
