//! The reasons of verdicts: one numbered list for programs, counters and the CLI.

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel handles it: `TCX_NEXT`.
    Pass,
    /// netpath redirects it.
    Forward,
    /// It is dropped.
    Drop,
    /// It is dropped because netpath buffers it or has sent a copy.
    Consume,
    /// Not a packet: a flow was removed before its idle limit.
    Evict,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $verdict:ident, $name:literal;)+) => {
        /// Index in the map `counters`. Numbers are part of the map schema and are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl Reason {
            /// Every reason, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that `netpath map dump counters` shows.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The reason with a number.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// What happens to such a packet.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict),+ }
            }
        }
    };
}

reasons! {
    /// Not IPv4 or IPv6, or traffic of the host itself.
    NotOurs = 0, Pass, "pass_not_ours";
    /// ARP, and neighbour discovery and multicast of a sandbox: the bridge and the stack handle it.
    LinkLocal = 1, Pass, "pass_link_local";
    /// From a sandbox to the node itself.
    ToHost = 2, Pass, "pass_to_host";
    /// From the node itself to a sandbox.
    FromHost = 3, Pass, "pass_from_host";
    /// TTL or hop limit exceeded: the stack reports this to the sender.
    TtlExceeded = 4, Pass, "pass_ttl_exceeded";
    /// Larger than the MTU of the outgoing device: the stack fragments the packet or reports this to the sender.
    TooBig = 5, Pass, "pass_too_big";
    /// An ICMP error about a packet that belongs to no flow.
    IcmpError = 7, Pass, "pass_icmp_error";
    /// A frame between endpoints of one network: the bridge forwards it.
    Bridged = 8, Pass, "pass_bridged";

    /// No route to the destination: the stack reports this to the sender.
    Unreachable = 9, Pass, "pass_unreachable";

    /// A later fragment to the node that arrived before the first one: buffered as well, because it may belong to a
    /// published port.
    FragmentEarly = 10, Pass, "pass_fragment_early";

    /// Forwarded by the stack with an address of the node as source: another NAT uses this outer tuple.
    ForeignNat = 11, Pass, "pass_foreign_nat";
    /// From the node or from another NAT, with an outer tuple that could not be recorded: new flows avoid its port.
    OuterTuplesFull = 12, Pass, "pass_outer_tuples_full";

    /// To an endpoint with a rate, redirected by a program at another hook: the queueing discipline of the host interface sends it
    /// at that rate.
    Queued = 13, Pass, "pass_queued";

    /// Delivered from outside to a sandbox.
    Inbound = 16, Forward, "forward_inbound";
    /// Sent from a sandbox to the outside.
    Outbound = 17, Forward, "forward_outbound";
    /// Delivered between sandboxes of one network.
    Sibling = 18, Forward, "forward_sibling";
    /// Delivered between sandboxes through a published port.
    Hairpin = 19, Forward, "forward_hairpin";
    /// Translated at the egress hook of an interface.
    Translated = 20, Pass, "translated";
    /// A first fragment whose later fragments were buffered: all were sent to the same hook again, in order.
    FragmentsReplayed = 21, Consume, "replayed_fragments";
    /// A later fragment that arrived before the first one: buffered.
    FragmentHeld = 22, Consume, "held_fragment";

    /// A request for the link address of the gateway or of a sandbox of the same network: answered.
    Neighbour = 23, Forward, "forward_neighbour";

    /// Sent from a sandbox to another node in a tunnel packet.
    Encapsulated = 24, Forward, "forward_encapsulated";
    /// Received from another node in a tunnel packet, and delivered to a sandbox.
    Decapsulated = 25, Forward, "forward_decapsulated";
    /// Larger than what the route to another node takes: answered by an ICMP error.
    TunnelTooBig = 26, Forward, "forward_too_big";

    /// Headers are truncated or inconsistent.
    Malformed = 32, Drop, "drop_malformed";
    /// The source MAC or IP address, or the sender of an ARP or ND message, is not the sandbox's.
    Spoofed = 33, Drop, "drop_spoofed";
    /// The destination is in another network.
    Isolated = 34, Drop, "drop_isolated";
    /// Sandboxes of this network may not exchange packets.
    IccOff = 35, Drop, "drop_icc_off";
    /// The network has no external access.
    InternalNetwork = 36, Drop, "drop_internal";
    /// From outside to an address that is reachable through published ports only.
    DirectAccess = 37, Drop, "drop_direct_access";
    /// The source is not in the allow-list of the published port.
    NotAllowed = 38, Drop, "drop_not_allowed";
    /// The flow table is full: the new flow was refused.
    TableFull = 39, Drop, "drop_table_full";
    /// No free external port was found.
    NoPort = 40, Drop, "drop_no_port";
    /// A packet that belongs to no flow and does not open one.
    NoFlow = 41, Drop, "drop_no_flow";
    /// No route to the destination.
    NoRoute = 42, Drop, "drop_no_route";
    /// The route leads through a device that is not an uplink: an interface that `--uplink` excludes, or no interface.
    NoUplink = 43, Drop, "drop_no_uplink";
    /// The uplink has no address of the packet's family.
    NoAddress = 44, Drop, "drop_no_address";
    /// A private source address would leave the node.
    PrivateSource = 45, Drop, "drop_private_source";
    /// A later fragment that arrived before the first one and could not be buffered; for IPv6 also one that is too
    /// large or whose hop limit is exceeded.
    Fragment = 46, Drop, "drop_fragment";
    /// A protocol that cannot be translated.
    UnknownProtocol = 47, Drop, "drop_unknown_protocol";
    /// An ICMP error from a sandbox about a packet that belongs to none of its flows.
    IcmpErrorUntranslated = 48, Drop, "drop_icmp_error";
    /// The endpoint of the flow was removed.
    EndpointGone = 49, Drop, "drop_endpoint_gone";
    /// The chain of extension headers is longer than the programs parse.
    TooManyHeaders = 50, Drop, "drop_too_many_headers";
    /// An invalid address: loopback, or an address of the node or its sandboxes as the source of a packet from outside.
    Martian = 51, Drop, "drop_martian";
    /// The packet could not be written.
    WriteFailed = 52, Drop, "drop_write_failed";
    /// A VLAN tag at an endpoint, or more priority tags than the programs remove.
    Tagged = 53, Drop, "drop_tagged";
    /// To a MAC address other than the gateway's, with a destination that only the gateway can reach.
    NotGateway = 54, Drop, "drop_not_gateway";
    /// From a sandbox to a tunnel of the node.
    Tunnel = 55, Drop, "drop_tunnel";
    /// A link-local address that is not the sandbox's, as source or in a neighbour discovery message.
    LinkSpoofed = 56, Drop, "drop_link_spoofed";
    /// From or to an address outside that the deny list of the node contains, in a packet that would be delivered to a sandbox
    /// or that a sandbox sends.
    Denied = 57, Drop, "drop_denied";
    /// From or to a host beyond a forwarding sandbox. The packet would leave the node untranslated, or only the stack of the node
    /// could process it: too big, TTL exceeded, fragment, ICMP error, no route.
    Forwarded = 58, Drop, "drop_forwarded";
    /// The sandbox sends faster than the rate of its endpoint.
    RateExceeded = 59, Drop, "drop_rate";
    /// The sandbox has reached its quota of flows: the new flow was refused.
    Quota = 60, Drop, "drop_quota";
    /// A map lacks an entry that must exist: an error of netpath or of the kernel.
    Internal = 61, Drop, "drop_internal_error";
    /// A tunnel packet whose UDP or VXLAN header is invalid: wrong length, no VNI, or another protocol than Ethernet inside.
    TunnelHeader = 62, Drop, "drop_tunnel_header";
    /// A fragment of a tunnel packet. Nodes send none.
    TunnelFragment = 63, Drop, "drop_tunnel_fragment";
    /// A tunnel packet with a VNI of no network of this node.
    TunnelVni = 64, Drop, "drop_tunnel_vni";
    /// A tunnel packet from an address that belongs to no other node.
    TunnelPeer = 65, Drop, "drop_tunnel_peer";
    /// The packet inside a tunnel packet is no valid IP packet in an Ethernet frame without VLAN tag.
    TunnelInner = 66, Drop, "drop_tunnel_inner";
    /// The source address of the packet inside a tunnel packet is not on the node that sent it.
    TunnelSource = 67, Drop, "drop_tunnel_source";
    /// The destination address of the packet inside a tunnel packet belongs to no sandbox of the network on this node.
    TunnelTarget = 68, Drop, "drop_tunnel_target";
    /// A tunnel packet is marked as having experienced congestion, but the packet inside cannot carry that mark (RFC 6040 §4.2).
    TunnelCongested = 69, Drop, "drop_tunnel_congested";
    /// No route to the node with the destination, or no address of this node of the family of its address.
    TunnelRoute = 70, Drop, "drop_tunnel_route";
    /// Larger than what the route to another node takes, and of a kind that no ICMP error reports.
    TunnelLost = 71, Drop, "drop_tunnel_too_big";

    /// A half-open flow was removed for a new one, because the limit of its endpoint and direction was reached.
    EvictedHalfOpen = 96, Evict, "evicted_half_open";
    /// A flow that was half-open, finished or not sustained was removed because the table was full.
    EvictedTableFull = 97, Evict, "evicted_table_full";
    /// A flow that was half-open or finished was removed because its sandbox had reached its quota.
    EvictedQuota = 98, Evict, "evicted_quota";
}

/// Number of entries of the map `counters`. Greater than the number of every reason.
pub const COUNTERS: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_fit() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert!((*reason as u32) < COUNTERS);
            assert_eq!(Reason::from_number(*reason as u32), Some(*reason));
            assert!(
                Reason::ALL[..index]
                    .iter()
                    .all(|other| *other as u32 != *reason as u32)
            );
        }
    }

    #[test]
    fn name_of_drop_reason_starts_with_drop() {
        for reason in Reason::ALL {
            assert_eq!(
                reason.name().starts_with("drop_"),
                reason.verdict() == Verdict::Drop,
                "{reason:?}"
            );
        }
    }
}
