//! Sockets of host processes: published ports on 127.0.0.1, ::1 and every address of the node.
//!
//! The destination is replaced when the process connects or sends, so no packet is translated. A published port cannot be
//! bound. Only sockets of the node's network namespace are handled: in a sandbox, the loopback address is the sandbox's.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::generated::{
        bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval, bpf_skc_to_tcp6_sock,
        bpf_skc_to_udp6_sock,
    },
};
use netpath_common::{
    addr::{Addr, Be16, Family},
    flow::{FlowKey, TCP, UDP},
    maps::{AddressOwner, Config, Endpoint, PublishedRange, SocketAddr, SocketPeer},
};

use crate::{
    helpers::{self, Socket},
    maps,
    nat::publish,
};

const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
/// Multipath TCP; the subflows of such a socket are TCP sockets.
const IPPROTO_MPTCP: u32 = 262;

const EADDRINUSE: i32 = 98;
const ECONNREFUSED: i32 = 111;

/// The return value of a program that permits the call.
pub const PROCEED: i32 = 1;
/// The return value of a program that refuses the call.
const REFUSE: i32 = 0;

/// Offset and bit of `skc_ipv6only` in the kernel's `struct sock_common`, which all sockets start with: after the addresses
/// (8 bytes), hash (4), ports (4), family (2) and state (1), in the byte of `skc_reuse` (4 bits) and `skc_reuseport` (1 bit).
/// The verifier rejects the offset if the kernel's type information has another layout.
const V6_ONLY_OFFSET: usize = 19;
const V6_ONLY_BIT: u8 = 1 << 5;

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
        if protocol == UDP
            && target.flags & PublishedRange::HELD_BY_ENGINE == 0
            && self.is_to_host_socket(local, requested.port, connects)
        {
            return PROCEED;
        }
        if !self.reaches(target.endpoint, connects) {
            return if connects {
                refuse(ECONNREFUSED)
            } else {
                PROCEED
            };
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

    /// For `bind`: refuses a port that is published at the address, unless a container engine holds it by a socket of its own.
    /// Port 0, with which the kernel chooses a port, is permitted.
    #[inline(always)]
    pub fn reserve(&self) -> i32 {
        let (Some(config), Some(protocol)) = (self.config(), self.protocol()) else {
            return PROCEED;
        };
        let (addr, port) = (self.addr(), self.port().get());
        // No port is published at a multicast address.
        if port == 0 || addr.is_multicast_or_broadcast() {
            return PROCEED;
        }
        let is_reserved = if addr.is_unspecified() {
            maps::is_reserved(addr.family(), protocol, port)
                || (!addr.is_v4()
                    && maps::is_reserved(Family::V4, protocol, port)
                    && !self.is_v6_only(protocol))
        } else {
            publish::is_reserved_for_socket(config, &addr, port, protocol)
        };
        if is_reserved {
            refuse(EADDRINUSE)
        } else {
            PROCEED
        }
    }

    /// The address and port that the socket is bound to, and the device; all are 0 if it is not bound.
    #[inline(always)]
    fn binding(&self) -> (Addr, Be16, u32) {
        // SAFETY: as in `protocol`; the verifier permits reads of these fields of the socket.
        unsafe {
            let socket = (*self.context).__bindgen_anon_1.sk;
            if socket.is_null() {
                return (Addr::UNSPECIFIED, Be16::new(0), 0);
            }
            let addr = match self.family {
                Family::V4 => Addr::from_raw_v4((*socket).src_ip4),
                Family::V6 => words_at((&raw const (*socket).src_ip6).cast()),
            };
            // The field is in host byte order.
            (
                addr,
                Be16::new((*socket).src_port as u16),
                (*socket).bound_dev_if,
            )
        }
    }

    /// Whether packets of the socket can reach the sandbox of an endpoint. Those of a socket that is bound to a device or to
    /// a loopback address cannot, except through the bridge of the network.
    #[inline(always)]
    fn reaches(&self, endpoint: &Endpoint, connects: bool) -> bool {
        let (source, _, device) = self.binding();
        (device == 0 || device == endpoint.bridge)
            && !source.is_loopback()
            && (connects || !self.message_source().is_loopback())
    }

    /// Whether a UDP socket of the node receives what the socket sends to `local`. A published port cannot be bound, so that
    /// socket got its port automatically, and this is the reply to its datagram.
    #[inline(always)]
    fn is_to_host_socket(&self, local: Addr, port: Be16, connects: bool) -> bool {
        let (bound, sport, _) = self.binding();
        let source = if connects {
            bound
        } else {
            self.message_source()
        };
        let key = FlowKey {
            src: if source.is_unspecified() {
                local
            } else {
                source
            },
            dst: local,
            sport,
            dport: port,
            protocol: UDP,
            pad: 0,
            pad2: 0,
        };
        helpers::find_socket_of_call(self.context, &key) != Socket::None
    }

    /// Whether an IPv6 socket does not receive IPv4 packets (`IPV6_V6ONLY`).
    #[inline(always)]
    fn is_v6_only(&self, protocol: u8) -> bool {
        // SAFETY: as in `protocol`. The helpers return the socket with its kernel type, in which the verifier checks the load,
        // or null.
        unsafe {
            let socket = (*self.context).__bindgen_anon_1.sk;
            if socket.is_null() {
                return false;
            }
            // The two helpers return different types, which one instruction must not access.
            if protocol == TCP {
                let socket: *const u8 = bpf_skc_to_tcp6_sock(socket.cast()).cast();
                !socket.is_null() && socket.add(V6_ONLY_OFFSET).read_volatile() & V6_ONLY_BIT != 0
            } else {
                let socket: *const u8 = bpf_skc_to_udp6_sock(socket.cast()).cast();
                !socket.is_null() && socket.add(V6_ONLY_OFFSET).read_volatile() & V6_ONLY_BIT != 0
            }
        }
    }

    /// The source address of a datagram; unspecified if the kernel chooses it. For `sendmsg` only: the verifier rejects the
    /// field elsewhere.
    #[inline(always)]
    fn message_source(&self) -> Addr {
        // SAFETY: as in `protocol`; the program type of each family may read that family's field.
        unsafe {
            match self.family {
                Family::V4 => Addr::from_raw_v4((*self.context).msg_src_ip4),
                Family::V6 => words_at((&raw const (*self.context).msg_src_ip6).cast()),
            }
        }
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
        match unsafe { (*self.context).protocol } {
            IPPROTO_TCP | IPPROTO_MPTCP => Some(TCP),
            IPPROTO_UDP => Some(UDP),
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

/// Refuses the call with an error number.
#[inline(always)]
fn refuse(errno: i32) -> i32 {
    // SAFETY: plain helper call.
    unsafe { bpf_set_retval(-errno) };
    REFUSE
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
