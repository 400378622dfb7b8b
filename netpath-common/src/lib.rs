//! What the eBPF programs and the daemon agree on.
//!
//! Everything here is `no_std`, free of IO, and compiled both for the BPF target and for the host.
//!
//! * **Byte order**: addresses and ports that come from packets stay in network order inside [`addr::Addr`] and
//!   [`addr::Be16`]; only their getters convert. Every other integer is in host order.
//! * **Layout**: every type that lives in a map is `repr(C)` without implicit padding; `layout.rs` proves it at
//!   compile time. Changing one of them means raising [`maps::SCHEMA_VERSION`].
//! * **Equality**: written by hand where a derive would compile to a `memcmp` call on the BPF target.

#![no_std]

pub mod addr;
pub mod checksum;
pub mod flow;
mod layout;
pub mod maps;
#[cfg(feature = "user")]
mod pod;
pub mod portmap;
pub mod probe;
pub mod reason;
