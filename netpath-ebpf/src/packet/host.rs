//! A packet with the metadata of a socket buffer, for host tests.

use std::cell::Cell;

use netpath_common::checksum::Diff;

use super::{Covers, Header, Packet, VLAN_ID, slice::Slice};

/// A linear packet with complete checksums, and its metadata.
#[derive(Clone, Debug, Default)]
pub struct Skb {
    /// The packet, from its link header.
    pub bytes: Vec<u8>,
    /// Interface that the program is attached to.
    pub ifindex: u32,
    /// Interface that received the packet; 0 if the node sends it.
    pub ingress_ifindex: u32,
    /// The identifier of its VLAN tag; `None` if it has no tag.
    pub vlan: Option<u16>,
    /// The number that a program has stored with the packet.
    pub noted: Cell<u64>,
    /// Type of the network packet, for a packet without a link header.
    pub ethertype: u16,
}

impl Skb {
    /// Interface that the program is attached to.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Interface that received the packet.
    pub fn ingress_ifindex(&self) -> u32 {
        self.ingress_ifindex
    }

    /// The packet's mark: none.
    pub fn mark(&self) -> u32 {
        0
    }

    /// Stores a number with the packet.
    pub fn note(&self, number: u64) {
        self.noted.set(number);
    }

    /// Stores a number with the packet in place of the secret of the node, which no host test reads.
    pub fn note_secret(&self) {
        self.note(1);
    }

    /// Whether this number was stored with the packet. Then it is erased.
    pub fn take_note(&self, number: u64) -> bool {
        let is_noted = number != 0 && self.noted.get() == number;
        if is_noted {
            self.noted.set(0);
        }
        is_noted
    }

    /// Does nothing: a packet of a host test has no mark.
    pub fn clear_mark(&self) {}

    /// Whether the frame is addressed to this host: always.
    pub fn is_for_this_host(&self) -> bool {
        true
    }

    /// Whether it has a VLAN tag.
    pub fn is_tagged(&self) -> bool {
        self.vlan.is_some()
    }

    /// The identifier of its VLAN tag.
    pub fn vlan(&self) -> Option<u16> {
        self.vlan
    }

    /// Removes the tag of the metadata, or the one in the bytes. A further tag in the bytes moves to the metadata.
    pub fn remove_tag(&mut self) -> bool {
        if self.vlan.take().is_none() {
            self.take_tag();
        }
        self.vlan = self.take_tag();
        true
    }

    /// Removes the tag in the bytes and returns its identifier.
    fn take_tag(&mut self) -> Option<u16> {
        match self.bytes.get(12..16)? {
            &[0x81, 0, a, b] | &[0x88, 0xa8, a, b] => {
                self.bytes.drain(12..16);
                Some(u16::from_be_bytes([a, b]) & VLAN_ID)
            }
            _ => None,
        }
    }

    /// Type of the network packet.
    pub fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// Adds a link header of zeros.
    pub fn push_link_header(&mut self, length: usize) -> bool {
        self.bytes.splice(..0, std::iter::repeat_n(0, length));
        true
    }

    /// Packets on the wire.
    pub fn segments(&self) -> u64 {
        1
    }

    /// Zero: it is not a GSO packet.
    pub fn segment_size(&self) -> usize {
        0
    }

    /// `false`: it is linear already.
    pub fn linearize(&mut self) -> bool {
        false
    }
}

impl Packet for Skb {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let bytes = self.bytes.get(offset..)?.get(..size_of::<T>())?;
        // SAFETY: `bytes` holds exactly one `T`, and `Header` permits any bit pattern at any address.
        Some(unsafe { &*bytes.as_ptr().cast() })
    }

    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let bytes = self.bytes.get_mut(offset..)?.get_mut(..size_of::<T>())?;
        // SAFETY: as in `header`, and the bytes are borrowed mutably for as long as the header.
        Some(unsafe { &mut *bytes.as_mut_ptr().cast() })
    }

    fn update_checksum(
        &mut self,
        offset: usize,
        diff: Diff,
        covers: Covers,
        udp: bool,
    ) -> Option<()> {
        Slice(&mut self.bytes).update_checksum(offset, diff, covers, udp)
    }
}
