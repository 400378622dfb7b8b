//! How long a flow may be idle.

use super::{ICMP, ICMPV6, State, TCP, UDP};

/// Idle limits in nanoseconds. The defaults are [`Timers::DEFAULT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Timers {
    /// TCP before the first reply.
    pub tcp_syn_sent: u64,
    /// TCP between the first reply and the end of the handshake.
    pub tcp_syn_received: u64,
    /// TCP established (RFC 5382 REQ-5: at least 2 h 4 min).
    pub tcp_established: u64,
    /// TCP after one FIN. The other side may continue to send, with pauses.
    pub tcp_half_closed: u64,
    /// TCP after both FINs.
    pub tcp_closing: u64,
    /// TCP after RST before the handshake was finished.
    pub tcp_refused: u64,
    /// TCP after a later RST. A forged RST must not end a connection that continues within this time (RFC 7857 §2.2:
    /// four minutes).
    pub tcp_reset: u64,
    /// UDP without a reply.
    pub udp_new: u64,
    /// UDP after a reply (RFC 4787 REQ-5: at least 120 s).
    pub udp_established: u64,
    /// ICMP echo (RFC 5508 REQ-2: at least 60 s).
    pub icmp: u64,
    /// Other protocols.
    pub other: u64,
    /// Fragments of an incomplete datagram (RFC 791 §3.2 suggests 15 s, RFC 8200 §4.5 requires 60 s; Linux waits 30 s
    /// for IPv4).
    pub fragment: u64,
}

const SECOND: u64 = 1_000_000_000;

/// Age of a flow in nanoseconds after which both directions must have carried a packet for it to be sustained.
pub const SUSTAINED_AFTER: u64 = 2 * SECOND;

impl Timers {
    /// The defaults. Rows T-5, U-5 and I-2 of `docs/nat-compliance.md` state the reasons.
    pub const DEFAULT: Self = Self {
        tcp_syn_sent: 120 * SECOND,
        tcp_syn_received: 60 * SECOND,
        tcp_established: 86_400 * SECOND,
        tcp_half_closed: 3_600 * SECOND,
        tcp_closing: 120 * SECOND,
        tcp_refused: 10 * SECOND,
        tcp_reset: 240 * SECOND,
        udp_new: 30 * SECOND,
        udp_established: 180 * SECOND,
        icmp: 60 * SECOND,
        other: 600 * SECOND,
        fragment: 30 * SECOND,
    };

    /// Every limit with the name of its setting.
    pub const fn named(&self) -> [(&'static str, u64); 12] {
        [
            ("tcp_syn_sent", self.tcp_syn_sent),
            ("tcp_syn_received", self.tcp_syn_received),
            ("tcp_established", self.tcp_established),
            ("tcp_half_closed", self.tcp_half_closed),
            ("tcp_closing", self.tcp_closing),
            ("tcp_refused", self.tcp_refused),
            ("tcp_reset", self.tcp_reset),
            ("udp_new", self.udp_new),
            ("udp_established", self.udp_established),
            ("icmp", self.icmp),
            ("other", self.other),
            ("fragment", self.fragment),
        ]
    }

    /// The idle time in nanoseconds after which a flow of `protocol` in `state` has expired.
    #[inline(always)]
    pub const fn idle_limit(&self, protocol: u8, state: State) -> u64 {
        match protocol {
            TCP => match state {
                State::New => self.tcp_syn_sent,
                State::SynReceived => self.tcp_syn_received,
                State::Established => self.tcp_established,
                State::HalfClosed => self.tcp_half_closed,
                State::Closing => self.tcp_closing,
                State::Refused => self.tcp_refused,
                State::Reset => self.tcp_reset,
            },
            UDP => match state {
                State::New => self.udp_new,
                _ => self.udp_established,
            },
            ICMP | ICMPV6 => self.icmp,
            _ => self.other,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_limits_keep_rfc_minima() {
        let timers = Timers::DEFAULT;
        assert!(
            timers.tcp_established >= (2 * 60 + 4) * 60 * SECOND,
            "RFC 5382 REQ-5"
        );
        assert!(
            timers.tcp_half_closed >= 3_600 * SECOND,
            "a half-closed connection may pause for an hour"
        );
        assert!(timers.tcp_reset >= 240 * SECOND, "RFC 7857 §2.2");
        assert!(timers.udp_established >= 120 * SECOND, "RFC 4787 REQ-5");
        assert!(timers.icmp >= 60 * SECOND, "RFC 5508 REQ-2");
    }
}
