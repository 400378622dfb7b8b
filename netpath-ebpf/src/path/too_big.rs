//! Packets that the route to another node does not take. The stack does not route them, so the program reports them.

use netpath_common::{addr::MacAddr, maps::Endpoint, reason::Reason};

use crate::{
    context::Context,
    helpers, maps,
    packet::Packet,
    parse::{ETHERNET, Transport},
    rewrite::{self, too_big, tunnel},
    stage::stage,
};

stage! {
    /// Answers a packet of the endpoint in `slot` by an ICMP error, after the lookup of the route that does not take it. Nothing reports fragments without a transport header,
    /// ICMP errors (RFC 1122 §3.2.2), and packets that are shorter than a quote.
    pub fn answer_too_big(context: &mut Context, slot: u32) -> Reason {
        let Some(endpoint) = maps::endpoint(slot) else {
            return Reason::EndpointGone;
        };
        let is_reported = matches!(context.parsed.transport, Transport::Flow | Transport::Other);
        if !is_reported || context.skb.len() < ETHERNET + too_big::QUOTE {
            return Reason::TunnelLost;
        }
        let overhead = tunnel::overhead(context.scratch.tunnel.outer.family) as u32;
        let mtu = context.scratch.route.found.mtu.saturating_sub(overhead);
        match answer(context, endpoint, mtu) {
            Some(()) => Reason::TunnelTooBig,
            None => Reason::WriteFailed,
        }
    }
}

#[inline(always)]
fn answer(context: &mut Context, endpoint: &Endpoint, mtu: u32) -> Option<()> {
    let (skb, parsed) = (&mut context.skb, &*context.parsed);
    let router = MacAddr(*skb.header::<[u8; 6]>(0)?);
    if !helpers::truncate(skb, ETHERNET + too_big::QUOTE)
        || !helpers::add_room(skb, too_big::headers(parsed.family))
    {
        return None;
    }
    let quote = skb.header::<[u8; too_big::QUOTE]>(ETHERNET + too_big::headers(parsed.family))?;
    let sum = helpers::sum_of(quote);
    rewrite::set_macs(skb, &endpoint.mac, &router)?;
    too_big::write_too_big(skb, parsed, mtu, sum)?;
    helpers::redirect_to_peer(skb, endpoint.ifindex);
    Some(())
}
