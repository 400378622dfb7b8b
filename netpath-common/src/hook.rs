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
    /// Packets that arrive at an uplink.
    UplinkIngress = 0,
    /// Packets that leave through an uplink.
    UplinkEgress = 1,
    /// Packets that a sandbox sends.
    EndpointIngress = 2,
    /// Packets that the stack or the bridge delivers to a sandbox.
    EndpointEgress = 3,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 4] = [
        Self::UplinkIngress,
        Self::UplinkEgress,
        Self::EndpointIngress,
        Self::EndpointEgress,
    ];

    /// The hooks of the host's end of an endpoint's veth pair.
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
