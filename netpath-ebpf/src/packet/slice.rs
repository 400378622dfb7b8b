//! A packet in a byte slice, for host tests and fuzzing.

use netpath_common::checksum::Diff;

use super::{Covers, Header, Packet};

/// A packet with complete checksums.
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
        // A computed UDP checksum of zero is sent as 0xffff (RFC 768).
        *field = if udp && updated == 0 {
            [0xff; 2]
        } else {
            updated.to_ne_bytes()
        };
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use netpath_common::checksum::checksum;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn header_is_within_packet_or_none(mut bytes in vec(any::<u8>(), 0..64), offset in 0..100_usize) {
            let length = bytes.len();
            let before = bytes.clone();
            let mut packet = Slice(&mut bytes);
            prop_assert_eq!(packet.len(), length);
            let found = packet.header::<[u8; 12]>(offset).copied();
            let expected = before.get(offset..offset + 12);
            prop_assert_eq!(found.as_ref().map(|header| &header[..]), expected);
            prop_assert_eq!(packet.header_mut::<[u8; 12]>(offset).is_some(), expected.is_some());
        }

        #[test]
        fn updated_checksum_is_valid(mut words: [u8; 16], new: u32) {
            words[..2].fill(0);
            let right = checksum(&words);
            words[..2].copy_from_slice(&right.to_ne_bytes());
            let old = u32::from_ne_bytes([words[4], words[5], words[6], words[7]]);
            words[4..8].copy_from_slice(&new.to_ne_bytes());
            let diff = Diff::none().replace_u32(old, new);
            Slice(&mut words).update_checksum(0, diff, Covers::Payload, false);
            prop_assert!(matches!(checksum(&words), 0 | 0xffff));
        }
    }

    #[test]
    fn offset_overflow_is_none() {
        let mut bytes = [0; 8];
        assert!(Slice(&mut bytes).header::<[u8; 2]>(usize::MAX).is_none());
        assert!(
            Slice(&mut bytes)
                .header_mut::<[u8; 2]>(usize::MAX)
                .is_none()
        );
        assert_eq!(
            Slice(&mut bytes).update_checksum(7, Diff::none(), Covers::Payload, true),
            None
        );
    }

    #[test]
    fn absent_udp_checksum_stays_absent_and_zero_becomes_ones() {
        let diff = Diff::none().replace_u16(1, 2);
        let mut absent = [0; 2];
        Slice(&mut absent).update_checksum(0, diff, Covers::Payload, true);
        assert_eq!(absent, [0; 2]);
        let mut one = 1_u16.to_ne_bytes();
        Slice(&mut one).update_checksum(0, diff, Covers::Payload, true);
        assert_eq!(one, [0xff; 2]);
    }
}
