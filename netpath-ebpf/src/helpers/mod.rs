//! Safe functions around the kernel's helpers. Outside this folder, raw helpers are called only in `packet::skb`,
//! `maps` and `socket`.
//!
//! | file | content |
//! |---|---|
//! | `atomic` | atomic additions to map values |
//! | `bounded` | lengths whose range the verifier of every kernel can prove |
//! | `bytes` | copies between a packet and memory |
//! | `checksum` | probes of checksum updates |
//! | `clone` | sending a copy of a packet |
//! | `fib` | routing lookups |
//! | `random` | random numbers |
//! | `redirect` | sending a packet to another device |
//! | `repeat` | loops whose body the verifier follows once |
//! | `route` | arguments and results of routing lookups |
//! | `socket_lookup` | sockets of the node |
//! | `time` | the clock |
//! | `tunnel` | room for the headers of tunnel packets |
//!
//! Host tests use `host` instead, which records what the programs do.

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod bounded;
#[cfg(target_arch = "bpf")]
mod bytes;
#[cfg(target_arch = "bpf")]
mod checksum;
#[cfg(target_arch = "bpf")]
mod clone;
#[cfg(target_arch = "bpf")]
mod fib;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
#[cfg(target_arch = "bpf")]
mod random;
#[cfg(target_arch = "bpf")]
mod redirect;
#[cfg(target_arch = "bpf")]
mod repeat;
#[cfg(target_arch = "bpf")]
mod socket_lookup;
#[cfg(target_arch = "bpf")]
mod time;
#[cfg(target_arch = "bpf")]
mod tunnel;

mod route;

#[cfg(target_arch = "bpf")]
pub use self::{
    atomic::{add_i32, add_u64, fetch_add_u32, raise_u64},
    bounded::bounded,
    bytes::{load_bytes, load_probe_request, load_record, replace_packet},
    checksum::probe_checksum,
    clone::clone_redirect,
    fib::{find_route, probe_route},
    random::random_u32,
    redirect::{redirect_to_device, redirect_to_neighbour, redirect_to_peer},
    repeat::repeat,
    socket_lookup::{find_socket, find_socket_of_call, find_socket_of_frame},
    time::{now, precise_now},
    tunnel::{add_room, add_tunnel_room, remove_tunnel_headers, sum_of, truncate},
};
#[cfg(not(target_arch = "bpf"))]
pub use host::{
    add_i32, add_room, add_tunnel_room, add_u64, clone_redirect, fetch_add_u32, find_route,
    find_socket, load_bytes, load_record, now, precise_now, raise_u64, random_u32,
    redirect_to_device, redirect_to_neighbour, redirect_to_peer, remove_tunnel_headers, repeat,
    replace_packet, sum_of, truncate,
};
pub use route::{AF_INET, AF_INET6, Lookup, Route, RouteQuery};

/// The body of a loop; see [`repeat`].
pub trait Step {
    /// Runs the body for one number, from 0 upwards. Returns whether the loop continues.
    fn step(&mut self, number: u32) -> Continue;
}

/// Whether a loop continues.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Continue {
    /// The loop continues with the next number.
    Yes,
    /// The loop ends.
    No,
}

/// What kind of socket a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// No socket.
    None,
    /// Connected to the sender of the packet.
    Connected,
    /// Bound or listening.
    Unconnected,
}
