//! Every BPF program by test run: packet in; verdict, packet, counter and flows out. Needs root.
//!
//! A test is data: see [`case`]. `cases` holds them by subject; the rest needs more than a table.
#![expect(
    clippy::expect_used,
    reason = "a test says what it expects; a panic is how it fails"
)]

mod case;
mod cases;
