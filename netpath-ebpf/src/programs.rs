//! Entry points of the programs. No other module chooses the verdict for a reason.

use aya_ebpf::{
    bindings::{
        tcx_action_base::{TCX_DROP, TCX_NEXT, TCX_REDIRECT},
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    macros::{cgroup_sock_addr, classifier, xdp},
    programs::{SockAddrContext, TcContext, XdpContext},
};
use netpath_common::{
    addr::Family,
    hook::LinkHeader,
    reason::{Reason, Verdict},
};
use netpath_ebpf::{
    context::Context,
    maps,
    packet::{Packet, frame::Frame, skb::Skb},
    path::{endpoint, uplink},
    socket::Call,
};

/// Handles a packet, counts it, and returns the verdict for its reason. A macro, and the programs are inlined into their
/// entry points, because the frames of more calls do not fit on the stack of Linux 6.1.
macro_rules! handle {
    ($program:ident, $context:ident => $path:expr) => {{
        let bytes = Skb::new($program.skb.skb).len();
        let reason = match Context::new(Skb::new($program.skb.skb)) {
            Some(mut context) => {
                let $context = &mut context;
                $path
            }
            None => Reason::Internal,
        };
        finish(&$program, reason, bytes)
    }};
}

#[classifier]
#[inline(always)]
fn uplink_ingress(program: TcContext) -> i32 {
    handle!(program, context => uplink::ingress(context, LinkHeader::Ethernet))
}

#[classifier]
#[inline(always)]
fn uplink_egress(program: TcContext) -> i32 {
    handle!(program, context => uplink::egress(context, LinkHeader::Ethernet))
}

/// For devices without an Ethernet header.
#[classifier]
#[inline(always)]
fn uplink_in_l3(program: TcContext) -> i32 {
    handle!(program, context => uplink::ingress(context, LinkHeader::None))
}

/// For devices without an Ethernet header.
#[classifier]
#[inline(always)]
fn uplink_out_l3(program: TcContext) -> i32 {
    handle!(program, context => uplink::egress(context, LinkHeader::None))
}

#[classifier]
#[inline(always)]
fn endpoint_in(program: TcContext) -> i32 {
    handle!(program, context => endpoint::ingress(context))
}

#[classifier]
#[inline(always)]
fn endpoint_out(program: TcContext) -> i32 {
    handle!(program, context => endpoint::egress(context))
}

/// For interfaces of the node whose driver runs XDP programs, before the program of the ingress hook.
#[xdp(frags)]
fn xdp_deny(context: XdpContext) -> u32 {
    deny(&context)
}

/// The same in generic mode. There the kernel copies packets for a program that accepts fragments, and the copy lacks the length of
/// the link header (`mac_len`), so that the programs of the ingress hook would not see that header. For this program
/// the kernel makes packets linear instead.
#[xdp]
fn xdp_deny_skb(context: XdpContext) -> u32 {
    deny(&context)
}

#[inline(always)]
fn deny(context: &XdpContext) -> u32 {
    let frame = Frame::new(context.ctx);
    if !netpath_ebpf::xdp::is_denied(&frame) {
        return XDP_PASS;
    }
    maps::count(Reason::Denied, frame.len());
    XDP_DROP
}

/// Not attached to a hook: the daemon runs it to remove idle flows.
#[classifier]
fn sweep(context: TcContext) -> i32 {
    netpath_ebpf::sweep::remove_idle_flows(&Skb::new(context.skb.skb))
}

/// Not attached to a hook: the daemon runs it to learn which flags the kernel's helpers support.
#[classifier]
fn probe(context: TcContext) -> i32 {
    netpath_ebpf::probe::run_probe(&Skb::new(context.skb.skb))
}

#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V4).redirect(true)
}

#[cgroup_sock_addr(connect6)]
fn connect6(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V6).redirect(true)
}

#[cgroup_sock_addr(bind4)]
fn bind4(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V4).reserve()
}

#[cgroup_sock_addr(bind6)]
fn bind6(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V6).reserve()
}

#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V4).redirect(false)
}

#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V6).redirect(false)
}

#[cgroup_sock_addr(recvmsg4)]
fn recvmsg4(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V4).restore()
}

#[cgroup_sock_addr(recvmsg6)]
fn recvmsg6(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V6).restore()
}

#[cgroup_sock_addr(getpeername4)]
fn getpeername4(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V4).restore()
}

#[cgroup_sock_addr(getpeername6)]
fn getpeername6(context: SockAddrContext) -> i32 {
    Call::new(context.sock_addr, Family::V6).restore()
}

/// Counts a packet, and returns the verdict for its reason.
#[inline(always)]
#[cfg_attr(
    not(feature = "trace"),
    expect(unused_variables, reason = "used by traces")
)]
fn finish(program: &TcContext, reason: Reason, bytes: usize) -> i32 {
    maps::count(reason, bytes);
    #[cfg(feature = "trace")]
    if reason.verdict() == Verdict::Drop {
        aya_log_ebpf::info!(
            program,
            "interface {}: {} bytes dropped for reason {}",
            Skb::new(program.skb.skb).ifindex(),
            bytes,
            reason as u32
        );
    }
    match reason.verdict() {
        Verdict::Pass => TCX_NEXT,
        Verdict::Forward => TCX_REDIRECT,
        // No packet has the verdict `Evict`.
        Verdict::Drop | Verdict::Consume | Verdict::Evict => TCX_DROP,
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The build rejects an object in which a panic is reachable.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
