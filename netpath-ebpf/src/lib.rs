//! The packet path of netpath.
//!
//! ```text
//! packet ─► parse ─► path ─► conntrack ─► nat ─► rewrite ─► verdict
//! bounds    tuple    desti-   flow         new     headers    reason → pass, forward, drop
//!                    nation                flow
//! ```
//!
//! | module | decides |
//! |---|---|
//! | [`packet`] | which bytes may be accessed, and when pointers become invalid |
//! | [`parse`] | what a packet is |
//! | `context` | the packet, the settings and the working memory that every stage uses |
//! | `stage` | which functions the verifier checks once |
//! | `path` | what happens at each hook, and to each destination |
//! | `conntrack` | which flow a packet belongs to, and when a flow expires |
//! | `fragment` | the translation of fragments without ports |
//! | `nat` | the translation of a new flow: published port, source address, port |
//! | [`rewrite`] | how headers and checksums change |
//! | `socket` | where sockets of host processes connect to |
//! | `sweep` | which idle flows are removed for the daemon |
//! | `xdp` | which packets of denied hosts are dropped in XDP |
//! | `maps` | access to map entries |
//! | `helpers` | access to the kernel |
//!
//! [`packet`], [`parse`] and [`rewrite`] do not depend on the kernel. The other modules except `socket` and `xdp` depend on it
//! through `maps`, `helpers` and `packet::skb` only. Host tests replace these three by plain collections, and run
//! `path`, `conntrack`, `fragment` and `nat` without root. The layouts of keys and values are declared in
//! `netpath_common::maps`.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch, core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "atomic additions, see `helpers`")
)]

pub mod packet;
pub mod parse;
pub mod rewrite;
#[cfg(test)]
mod sample;

#[cfg(any(target_arch = "bpf", test))]
pub mod conntrack;
#[cfg(any(target_arch = "bpf", test))]
pub mod context;
#[cfg(any(target_arch = "bpf", test))]
mod fragment;
#[cfg(any(target_arch = "bpf", test))]
mod hash;
#[cfg(any(target_arch = "bpf", test))]
mod helpers;
#[cfg(any(target_arch = "bpf", test))]
pub mod maps;
#[cfg(any(target_arch = "bpf", test))]
mod nat;
#[cfg(any(target_arch = "bpf", test))]
pub mod path;
#[cfg(target_arch = "bpf")]
pub mod probe;
#[cfg(any(target_arch = "bpf", test))]
mod route;
#[cfg(target_arch = "bpf")]
pub mod socket;
#[cfg(any(target_arch = "bpf", test))]
mod stage;
#[cfg(any(target_arch = "bpf", test))]
pub mod sweep;
#[cfg(target_arch = "bpf")]
pub mod xdp;
