//! Every BPF program by test run: packet in; verdict, packet, counter and flows out. Needs root.
//!
//! A test is data: see [`case`]. `cases` holds them by subject; the rest needs more than a table.
#![expect(
    clippy::expect_used,
    reason = "a test says what it expects; a panic is how it fails"
)]

mod budget;
mod capacity;
mod case;
mod cases;
mod coverage;
mod fuzz;
mod identification;
mod limits;
mod mark;
mod sweep;
mod tagged;
mod time;
mod truncated;

use netpath_tests::prog::Place;

/// The uplink.
fn eth0() -> Place {
    place("eth0")
}

fn place(device: &str) -> Place {
    Place {
        device: device.to_owned(),
        ..Place::default()
    }
}
