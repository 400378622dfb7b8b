//! Sockets of the node.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_F_CURRENT_NETNS, bpf_sock_addr, bpf_sock_tuple,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use netpath_common::flow::{FlowKey, TCP};

use super::Socket;
use crate::packet::{frame::Frame, skb::Skb};

/// State of a connected socket (net/tcp_states.h), including UDP.
const ESTABLISHED: u32 = 1;
/// State of a listening TCP socket.
const LISTEN: u32 = 10;

/// The socket of the node that receives a packet with the tuple `key`. Every protocol but TCP is looked up as UDP.
#[inline(never)]
pub fn find_socket(skb: &Skb, key: &FlowKey) -> Socket {
    find(skb.as_ptr().cast(), key)
}

/// The socket of the node that receives a packet with the tuple `key`, for the program of a system call on a socket.
#[inline(never)]
pub fn find_socket_of_call(call: *mut bpf_sock_addr, key: &FlowKey) -> Socket {
    find(call.cast(), key)
}

/// The socket of the node that receives a packet with the tuple `key`, for an XDP program.
#[inline(never)]
pub fn find_socket_of_frame(frame: &Frame, key: &FlowKey) -> Socket {
    find(frame.as_ptr().cast(), key)
}

/// `context` is the context of the program.
#[inline(always)]
fn find(context: *mut c_void, key: &FlowKey) -> Socket {
    if key.dst.is_v4() {
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: key.src.raw_v4(),
            daddr: key.dst.raw_v4(),
            sport: key.sport.raw(),
            dport: key.dport.raw(),
        };
        let size = size_of_val(&tuple) as u32;
        return find_by_tuple(context, key.protocol, (&raw mut tuple).cast(), size);
    }
    let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
        saddr: key.src.raw_words(),
        daddr: key.dst.raw_words(),
        sport: key.sport.raw(),
        dport: key.dport.raw(),
    };
    let size = size_of_val(&tuple) as u32;
    find_by_tuple(context, key.protocol, (&raw mut tuple).cast(), size)
}

#[inline(always)]
fn find_by_tuple(
    context: *mut c_void,
    protocol: u8,
    tuple: *mut bpf_sock_tuple,
    size: u32,
) -> Socket {
    let netns = BPF_F_CURRENT_NETNS as i64 as u64;
    // SAFETY: `tuple` has the `size` bytes of its family's member, and a socket that is found is released at once. The two
    // lookups return different types of sockets, which one instruction must not access.
    let is_connected = unsafe {
        if protocol == TCP {
            let socket = bpf_skc_lookup_tcp(context, tuple, size, netns, 0);
            if socket.is_null() {
                return Socket::None;
            }
            let state = (&raw const (*socket).state).read_volatile();
            bpf_sk_release(socket.cast());
            state != LISTEN
        } else {
            let socket = bpf_sk_lookup_udp(context, tuple, size, netns, 0);
            if socket.is_null() {
                return Socket::None;
            }
            let state = (&raw const (*socket).state).read_volatile();
            bpf_sk_release(socket.cast());
            state == ESTABLISHED
        }
    };
    if is_connected {
        Socket::Connected
    } else {
        Socket::Unconnected
    }
}
