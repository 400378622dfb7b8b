//! The hooks that programs are attached to.

use core::fmt;

/// A point of a device at which a program processes packets.
///
/// The numbers are part of the map schema ([`crate::maps::FragmentKey::hook`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "user",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[repr(u8)]
pub enum Hook {
    /// Packets that arrive at an interface of the node.
    UplinkIngress = 0,
    /// Packets that leave through an interface of the node.
    UplinkEgress = 1,
    /// Packets that a sandbox sends.
    EndpointIngress = 2,
    /// Packets that the stack or the bridge delivers to a sandbox.
    EndpointEgress = 3,
}

/// What precedes the network header of packets on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "user",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[repr(u32)]
pub enum LinkHeader {
    /// An Ethernet header.
    #[default]
    Ethernet = 0,
    /// Nothing: tun, WireGuard, IP in IP, PPP.
    None = 1,
}

impl LinkHeader {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Ethernet, Self::None];
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 4] = [
        Self::UplinkIngress,
        Self::UplinkEgress,
        Self::EndpointIngress,
        Self::EndpointEgress,
    ];

    /// The hooks of a host interface.
    pub const OF_ENDPOINT: [Self; 2] = [Self::EndpointIngress, Self::EndpointEgress];

    /// Name of the program for this hook. The names of link pins end with it.
    pub const fn program(self) -> &'static str {
        match self {
            Self::UplinkIngress => "uplink_ingress",
            Self::UplinkEgress => "uplink_egress",
            Self::EndpointIngress => "endpoint_in",
            Self::EndpointEgress => "endpoint_out",
        }
    }

    /// Name of the program for this hook of a device with this link header. Only interfaces of the node may have
    /// [`LinkHeader::None`].
    pub const fn program_for(self, header: LinkHeader) -> &'static str {
        match (self, header) {
            (Self::UplinkIngress, LinkHeader::None) => "uplink_in_l3",
            (Self::UplinkEgress, LinkHeader::None) => "uplink_out_l3",
            _ => self.program(),
        }
    }

    /// Whether the kernel runs the program for packets that the device receives.
    #[inline(always)]
    pub const fn is_ingress(self) -> bool {
        matches!(self, Self::UplinkIngress | Self::EndpointIngress)
    }

    /// Name in logs and in the output of `netpath status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UplinkIngress => "uplink-ingress",
            Self::UplinkEgress => "uplink-egress",
            Self::EndpointIngress => "endpoint-ingress",
            Self::EndpointEgress => "endpoint-egress",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
