//! Sockets of host processes: published ports on 127.0.0.1, ::1 and every address of the node.
//!
//! The destination is replaced when the process connects or sends, so no packet is translated. Only sockets of the node's
//! network namespace are handled: in a sandbox, the loopback address is the sandbox's.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie},
};
use netpath_common::{
    addr::{Addr, Be16, Family},
    flow::{TCP, UDP},
    maps::{AddressOwner, Config, SocketAddr, SocketPeer},
};

use crate::{maps, nat::publish};

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;

/// The return value of a program that permits the call.
pub const PROCEED: i32 = 1;

/// A system call on a socket, and the address family of its program.
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

    /// For `connect`, and for `sendmsg` with an address: replaces a published port by the sandbox's address and port.
    ///
    /// `connects` is true for `connect`. An unconnected IPv6 socket cannot send to an IPv4 address.
    #[inline(always)]
    pub fn redirect(&self, connects: bool) -> i32 {
        let Some(config) = self.config() else {
            return PROCEED;
        };
        // A socket that is bound to the loopback address cannot send to another device.
        if !connects && self.sends_from_loopback() {
            return PROCEED;
        }
        let Some(protocol) = self.protocol() else {
            return PROCEED;
        };
        let requested = SocketAddr {
            addr: self.addr(),
            port: self.port(),
            pad: [0; 3],
        };
        let Some(local) = local_address(requested.addr) else {
            return PROCEED;
        };
        let may_map = connects && self.family == Family::V6;
        let Some(target) = find(config, local, requested.port.get(), protocol, may_map) else {
            return PROCEED;
        };
        if self.family == Family::V6 && target.addr.is_v4() && !connects && !requested.addr.is_v4()
        {
            return PROCEED;
        }
        let peer = SocketPeer {
            cookie: self.cookie(),
            addr: target.addr,
            port: target.port,
            pad: [0; 3],
        };
        // Without this record, the process would see replies from the sandbox's address instead of the requested one.
        if maps::record_peer(&peer, &requested) {
            self.set_destination(target.addr, target.port);
        }
        PROCEED
    }

    /// For `recvmsg` and `getpeername`: replaces the sandbox's address by the address that the process requested.
    #[inline(always)]
    pub fn restore(&self) -> i32 {
        if self.config().is_none() {
            return PROCEED;
        }
        let peer = SocketPeer {
            cookie: self.cookie(),
            addr: self.addr(),
            port: self.port(),
            pad: [0; 3],
        };
        if let Some(requested) = maps::requested_peer(&peer) {
            self.set_destination(requested.addr, requested.port);
        }
        PROCEED
    }

    /// Whether the socket sends from a loopback address. For `sendmsg` only: the verifier rejects the field elsewhere.
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

    /// The settings of the node; `None` if the socket is in another network namespace.
    #[inline(always)]
    fn config(&self) -> Option<&'static Config> {
        let config = maps::config()?;
        // SAFETY: plain helper call on the program's own context.
        let cookie = unsafe { bpf_get_netns_cookie(self.context.cast()) };
        (cookie == config.netns_cookie).then_some(config)
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
        // SAFETY: as in `protocol`. The field has 32 bits; the port, in network order, is at its start.
        Be16::from_raw(unsafe { (*self.context).user_port } as u16)
    }

    #[inline(always)]
    fn set_destination(&self, addr: Addr, port: Be16) {
        // SAFETY: as in `addr`; the verifier permits writes to these fields.
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
/// `first` is the first of four words of the context. Each is loaded separately: the verifier permits no other width.
#[inline(always)]
unsafe fn words_at(first: *const u32) -> Addr {
    // SAFETY: by contract.
    unsafe {
        Addr::from_raw_words([
            first.read_volatile(),
            first.add(1).read_volatile(),
            first.add(2).read_volatile(),
            first.add(3).read_volatile(),
        ])
    }
}

/// The address for the lookup of a published port; `None` if `addr` is not an address of the node. A connection to the
/// unspecified address goes to the loopback address.
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
    match maps::address_owner(&addr) {
        Some(AddressOwner::Host | AddressOwner::Gateway) => Some(addr),
        Some(AddressOwner::Endpoint(_)) | None => None,
    }
}

const LOOPBACK_V4: Addr =
    Addr::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]);
const LOOPBACK_V6: Addr = Addr::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The published port at an address. If `may_map`, a port that is not found at `::1` is looked up at 127.0.0.1: a connected
/// IPv6 socket can use an IPv4 address in v4-mapped form.
#[inline(always)]
fn find(
    config: &Config,
    addr: Addr,
    port: u16,
    protocol: u8,
    may_map: bool,
) -> Option<publish::Target> {
    if let Some(target) = publish::find_for_socket(config, &addr, port, protocol) {
        return Some(target);
    }
    if may_map && addr.is_loopback() && !addr.is_v4() {
        return publish::find_for_socket(config, &LOOPBACK_V4, port, protocol);
    }
    None
}
