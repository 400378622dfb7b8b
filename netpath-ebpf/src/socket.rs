//! Sockets of host processes: published ports on 127.0.0.1, ::1 and every address of the node.
//!
//! The address is exchanged when the process connects or sends, so not one packet needs translation. Only sockets of
//! the node's own network namespace are touched: a sandbox's loopback is its own.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie},
};
use netpath_common::{
    addr::{Addr, Be16},
    flow::{TCP, UDP},
    maps::{ADDRESS_ENDPOINT, SocketAddr, SocketPeer},
};

use crate::{maps, nat::publish, path::route::from_words};

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;

/// What a program that lets the call go on returns.
pub const PROCEED: i32 = 1;

/// Address family of the call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// A call of a socket.
pub struct Call {
    context: *mut bpf_sock_addr,
    family: Family,
}

impl Call {
    /// Wraps the context of a socket-address program.
    #[inline(always)]
    pub const fn new(context: *mut bpf_sock_addr, family: Family) -> Self {
        Self { context, family }
    }

    /// Before `connect`, and before `sendmsg` with an address: the published port instead of the node's.
    ///
    /// `connects` tells the two apart: an unconnected IPv6 socket cannot be sent to an IPv4 address.
    #[inline(always)]
    pub fn redirect(&self, connects: bool) -> i32 {
        if !self.is_of_node() {
            return PROCEED;
        }
        // A socket bound to the loopback address cannot send anywhere else.
        if !connects && self.sends_from_loopback() {
            return PROCEED;
        }
        let Some(protocol) = self.protocol() else {
            return PROCEED;
        };
        let asked = SocketAddr {
            addr: self.addr(),
            port: self.port(),
            pad: [0; 3],
        };
        let Some(local) = local_address(asked.addr) else {
            return PROCEED;
        };
        let Some(target) = find(
            local,
            asked.port.get(),
            protocol,
            connects && self.family == Family::V6,
        ) else {
            return PROCEED;
        };
        if self.family == Family::V6 && target.addr.is_v4() && !connects && !asked.addr.is_v4() {
            return PROCEED;
        }
        let peer = SocketPeer {
            cookie: self.cookie(),
            addr: target.addr,
            port: target.target,
            pad: [0; 3],
        };
        // Without the note the process would see answers from an address it never asked for.
        if maps::remember_peer(&peer, &asked) {
            self.set(target.addr, target.target);
        }
        PROCEED
    }

    /// After `recvmsg`, and for `getpeername`: the address that the process asked for.
    #[inline(always)]
    pub fn restore(&self) -> i32 {
        if !self.is_of_node() {
            return PROCEED;
        }
        let peer = SocketPeer {
            cookie: self.cookie(),
            addr: self.addr(),
            port: self.port(),
            pad: [0; 3],
        };
        if let Some(asked) = maps::asked_peer(&peer) {
            self.set(asked.addr, asked.port);
        }
        PROCEED
    }

    /// For `sendmsg` only: the verifier refuses the field elsewhere.
    #[inline(always)]
    fn sends_from_loopback(&self) -> bool {
        // SAFETY: as in `protocol`; the program type of each family may read that family's field.
        let source = unsafe {
            match self.family {
                Family::V4 => Addr::from_raw_v4((*self.context).msg_src_ip4),
                Family::V6 => words_at((&raw const (*self.context).msg_src_ip6).cast()),
            }
        };
        source.is_loopback()
    }

    #[inline(always)]
    fn is_of_node(&self) -> bool {
        let Some(config) = maps::config() else {
            return false;
        };
        // SAFETY: plain helper call on the program's own context.
        unsafe { bpf_get_netns_cookie(self.context.cast()) == config.netns_cookie }
    }

    #[inline(always)]
    fn protocol(&self) -> Option<u8> {
        // SAFETY: the kernel passes a valid context, and the verifier turns each field access into a checked load.
        match unsafe { (*self.context).type_ } {
            SOCK_STREAM => Some(TCP),
            SOCK_DGRAM => Some(UDP),
            _ => None,
        }
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: plain helper call on the program's own context.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    #[inline(always)]
    fn addr(&self) -> Addr {
        // SAFETY: as in `protocol`; the program type of each family may read that family's field.
        unsafe {
            match self.family {
                Family::V4 => Addr::from_raw_v4((*self.context).user_ip4),
                Family::V6 => words_at((&raw const (*self.context).user_ip6).cast()),
            }
        }
    }

    #[inline(always)]
    fn port(&self) -> Be16 {
        // SAFETY: as in `protocol`. The field is 32 bits wide with the port, in network order, at its start.
        Be16::from_raw(unsafe { (*self.context).user_port } as u16)
    }

    #[inline(always)]
    fn set(&self, addr: Addr, port: Be16) {
        // SAFETY: as in `addr`; the verifier allows writing these fields.
        unsafe {
            match self.family {
                Family::V4 => (*self.context).user_ip4 = addr.raw_v4(),
                Family::V6 => {
                    let [a, b, c, d] = addr.raw_words();
                    let words = (&raw mut (*self.context).user_ip6).cast::<u32>();
                    words.write_volatile(a);
                    words.add(1).write_volatile(b);
                    words.add(2).write_volatile(c);
                    words.add(3).write_volatile(d);
                }
            }
            (*self.context).user_port = port.raw() as u32;
        }
    }
}

/// # Safety
/// `first` is the first of four words of the context. Each is loaded apart: the verifier allows no other width.
#[inline(always)]
unsafe fn words_at(first: *const u32) -> Addr {
    // SAFETY: by contract.
    unsafe {
        from_words([
            first.read_volatile(),
            first.add(1).read_volatile(),
            first.add(2).read_volatile(),
            first.add(3).read_volatile(),
        ])
    }
}

/// The address to look a published port up with, if the process asked for the node itself. The unspecified address
/// means the loopback address when it is connected to.
#[inline(always)]
fn local_address(addr: Addr) -> Option<Addr> {
    if addr.is_unspecified() {
        return Some(if addr.is_v4() {
            LOOPBACK_V4
        } else {
            LOOPBACK_V6
        });
    }
    if addr.is_loopback() {
        return Some(addr);
    }
    match maps::address(&addr) {
        Some(address) if address.kind != ADDRESS_ENDPOINT => Some(addr),
        _ => None,
    }
}

const LOOPBACK_V4: Addr =
    Addr::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]);
const LOOPBACK_V6: Addr = Addr::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// A published port; for `::1` towards a sandbox without an IPv6 address, its IPv4 address, which a socket that
/// connects can use in v4-mapped form.
#[inline(always)]
fn find(addr: Addr, port: u16, protocol: u8, may_map: bool) -> Option<publish::Target> {
    if let Some(target) = publish::find(&addr, port, protocol) {
        return Some(target);
    }
    if may_map && addr.is_loopback() && !addr.is_v4() {
        return publish::find(&LOOPBACK_V4, port, protocol);
    }
    None
}
