//! A packet in a byte slice, for tests and fuzzing on the host.

use netpath_common::checksum::Diff;

use super::{Covers, Header, Packet};

/// A packet whose checksums are complete, as they are on the wire.
#[derive(Debug)]
pub struct Slice<'a>(pub &'a mut [u8]);

impl Packet for Slice<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let bytes = self.0.get(offset..)?.get(..size_of::<T>())?;
        // SAFETY: `bytes` holds exactly one `T`, and `Header` allows any bit pattern at any address.
        Some(unsafe { &*bytes.as_ptr().cast() })
    }

    fn header_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let bytes = self.0.get_mut(offset..)?.get_mut(..size_of::<T>())?;
        // SAFETY: as in `header`, and the slice is borrowed mutably for as long as the header.
        Some(unsafe { &mut *bytes.as_mut_ptr().cast() })
    }

    fn update_checksum(
        &mut self,
        offset: usize,
        diff: Diff,
        _covers: Covers,
        udp: bool,
    ) -> Option<()> {
        let field = self.header_mut::<[u8; 2]>(offset)?;
        if udp && *field == [0, 0] {
            return Some(());
        }
        let updated = diff.apply(u16::from_ne_bytes(*field));
        // A computed UDP checksum of zero is sent as all ones (RFC 768).
        *field = if udp && updated == 0 {
            [0xff; 2]
        } else {
            updated.to_ne_bytes()
        };
        Some(())
    }
}
