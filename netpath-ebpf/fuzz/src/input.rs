//! The format of inputs: a frame, and the tuple to which it is translated.

use netpath_common::{
    addr::{Addr, Be16, Family},
    flow::{FlowKey, REWRITE_DST, REWRITE_SRC},
};

/// Flag in the first byte, which also contains the `REWRITE_*` flags: checksums are corrected first.
pub const COMPLETE: u8 = 1 << 0;

/// One input: a frame, and the tuple to which it is translated.
pub struct Input<'a> {
    /// [`REWRITE_SRC`] and [`REWRITE_DST`].
    pub flags: u8,
    /// Whether checksums are corrected before the checks. After random changes they are almost always incorrect.
    pub complete: bool,
    /// The frame, which starts with an Ethernet header.
    pub frame: &'a [u8],
    addresses: [[u8; 16]; 2],
    ports: [u16; 2],
}

impl<'a> Input<'a> {
    /// Splits bytes into the fields; `None` if there are too few for the fields before the frame.
    pub fn split(bytes: &'a [u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first()?;
        let (source, rest) = rest.split_first_chunk::<16>()?;
        let (destination, rest) = rest.split_first_chunk::<16>()?;
        let (sport, rest) = rest.split_first_chunk::<2>()?;
        let (dport, frame) = rest.split_first_chunk::<2>()?;
        Some(Self {
            flags: flags & (REWRITE_SRC | REWRITE_DST),
            complete: flags & COMPLETE != 0,
            frame,
            addresses: [*source, *destination],
            ports: [u16::from_be_bytes(*sport), u16::from_be_bytes(*dport)],
        })
    }

    /// The identification that a fragment gets.
    pub fn id(&self) -> u32 {
        u32::from(self.ports[0]) << 16 | u32::from(self.ports[1])
    }

    /// The tuple to which a packet with the tuple `from` is translated: `flags` selects source, destination or both. A port of
    /// zero does not change, because an echo has only one identifier.
    pub fn target(&self, from: &FlowKey, family: Family, flags: u8) -> FlowKey {
        let address = |octets: [u8; 16]| {
            let [.., a, b, c, d] = octets;
            if family == Family::V4 {
                Addr::from_raw_v4(u32::from_ne_bytes([a, b, c, d]))
            } else {
                let addr = Addr::from_octets(octets);
                // A v4-mapped address is not valid in an IPv6 flow.
                if addr.is_v4() {
                    Addr::UNSPECIFIED
                } else {
                    addr
                }
            }
        };
        let echo = !matches!(from.protocol, 6 | 17);
        let port = |old: Be16, new: u16| {
            if echo && old.get() == 0 {
                old
            } else {
                Be16::new(new)
            }
        };
        let mut to = *from;
        if flags & REWRITE_SRC != 0 {
            to.src = address(self.addresses[0]);
            to.sport = port(from.sport, self.ports[0]);
        }
        if flags & REWRITE_DST != 0 {
            to.dst = address(self.addresses[1]);
            to.dport = port(from.dport, self.ports[1]);
        }
        to
    }
}

/// The bytes of an input, the inverse of [`Input::split`].
pub fn join(flags: u8, to: ([u8; 16], [u8; 16], u16, u16), frame: &[u8]) -> Vec<u8> {
    let (source, destination, sport, dport) = to;
    let mut bytes = vec![flags];
    bytes.extend(source);
    bytes.extend(destination);
    bytes.extend(sport.to_be_bytes());
    bytes.extend(dport.to_be_bytes());
    bytes.extend(frame);
    bytes
}
