//! Definitions that the eBPF programs and the daemon share: map layouts, flow states, reasons, hooks.
//!
//! The crate is `no_std`, does no IO, and is compiled for the BPF target and for the host.
//!
//! * **Byte order**: addresses and ports of packets are in network order inside [`addr::Addr`] and [`addr::Be16`]; only
//!   their getters convert. Every other integer is in host order.
//! * **Layout**: every structure in a map is declared by the macro of `layout.rs`, which proves at compile time that it
//!   has no padding. A change of any of them requires a new [`maps::SCHEMA_VERSION`].
//! * **Equality**: implemented by hand where a derive would compile to a `memcmp` call on the BPF target.

#![no_std]

pub mod addr;
pub mod checksum;
pub mod flow;
pub mod hook;
mod layout;
pub mod maps;
pub mod portmap;
pub mod probe;
pub mod reason;
