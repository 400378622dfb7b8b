//! The packet path of netpath.
//!
//! ```text
//! packet ─► parse ─► path ─► conntrack ─► nat ─► rewrite ─► verdict
//! bounds    tuple    whose    which        new     headers    reason → pass, forward, drop
//!                    is it?   flow?        flow?
//! ```
//!
//! | module | decides |
//! |---|---|
//! | [`packet`] | what may be touched: bounds, and when pointers die |
//! | [`parse`] | what a packet is |
//! | `path` | what happens at each hook: own, sibling, hairpin, outside, host |
//! | `conntrack` | which flow a packet belongs to, and when a flow is over |
//! | `nat` | which translation a new flow gets: published port, source address, port |
//! | [`rewrite`] | how headers and checksums change |
//! | `socket` | where sockets of host processes go |
//! | `maps` | how state is reached |
//!
//! [`packet`], [`parse`] and [`rewrite`] are free of the kernel and run in host tests too.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch, core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "atomic additions, see `atomic`")
)]

pub mod packet;
pub mod parse;
pub mod rewrite;
#[cfg(test)]
mod sample;

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
pub mod conntrack;
#[cfg(target_arch = "bpf")]
mod helpers;
#[cfg(target_arch = "bpf")]
pub mod maps;
#[cfg(target_arch = "bpf")]
pub mod nat;
#[cfg(target_arch = "bpf")]
pub mod path;
#[cfg(target_arch = "bpf")]
pub mod probe;
#[cfg(target_arch = "bpf")]
pub mod socket;
#[cfg(target_arch = "bpf")]
pub mod sweep;
