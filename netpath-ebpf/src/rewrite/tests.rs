mod volume;

use netpath_common::addr::Be16;
use proptest::prelude::*;

use super::*;
use crate::{
    packet::slice::Slice,
    parse::parse,
    sample::{Kind, Sample, addr, sample},
};

fn parsed(bytes: &mut [u8]) -> Parsed {
    let mut parsed = Parsed::default();
    parse(&Slice(bytes), &mut parsed).expect("a valid packet");
    parsed
}

/// A packet, and the tuple that it gets.
fn translation() -> impl Strategy<Value = (Sample, FlowKey)> {
    sample().prop_flat_map(|sample| {
        let v4 = sample.is_v4();
        (Just(sample), addr(v4), addr(v4), any::<u16>(), any::<u16>()).prop_map(
            |(sample, src, dst, sport, dport)| {
                let old = sample.key();
                let (sport, dport) = match sample.kind {
                    Kind::Request => (sport, 0),
                    Kind::Reply => (0, dport),
                    _ => (sport, dport),
                };
                let to = FlowKey {
                    src,
                    dst,
                    sport: Be16::new(sport),
                    dport: Be16::new(dport),
                    ..old
                };
                (sample, to)
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn translated_packet_equals_packet_built_with_tuple((sample, to) in translation()) {
        let mut bytes = sample.build();
        let parsed = parsed(&mut bytes);
        prop_assert_eq!(translate(&mut Slice(&mut bytes), &parsed, &to, REWRITE_SRC | REWRITE_DST), Some(()));
        prop_assert_eq!(bytes, sample.with(&to).build());
    }

    #[test]
    fn only_the_selected_end_is_translated((sample, to) in translation(), source: bool) {
        let from = sample.key();
        let (to, flag) = if source {
            (FlowKey { dst: from.dst, dport: from.dport, ..to }, REWRITE_SRC)
        } else {
            (FlowKey { src: from.src, sport: from.sport, ..to }, REWRITE_DST)
        };
        let mut bytes = sample.build();
        let parsed = parsed(&mut bytes);
        prop_assert_eq!(translate(&mut Slice(&mut bytes), &parsed, &to, flag), Some(()));
        prop_assert_eq!(bytes, sample.with(&to).build());
    }

    #[test]
    fn reverse_translation_restores_packet((sample, to) in translation()) {
        let before = sample.build();
        let mut bytes = before.clone();
        for tuple in [&to, &sample.key()] {
            let parsed = parsed(&mut bytes);
            let done = translate(&mut Slice(&mut bytes), &parsed, tuple, REWRITE_SRC | REWRITE_DST);
            prop_assert_eq!(done, Some(()));
        }
        prop_assert_eq!(bytes, before);
    }

    #[test]
    fn decremented_packet_equals_packet_built_with_ttl(sample in sample()) {
        let mut bytes = sample.build();
        let parsed = parsed(&mut bytes);
        prop_assert_eq!(decrement_ttl(&mut Slice(&mut bytes), &parsed), Some(()));
        let mut expected = sample;
        expected.ttl -= 1;
        prop_assert_eq!(bytes, expected.build());
    }

    #[test]
    fn set_macs_changes_only_addresses(sample in sample(), to: [u8; 6], from: [u8; 6]) {
        let before = sample.build();
        let mut bytes = before.clone();
        prop_assert_eq!(set_macs(&mut Slice(&mut bytes), &MacAddr(to), &MacAddr(from)), Some(()));
        prop_assert_eq!(&bytes[..6], &to);
        prop_assert_eq!(&bytes[6..12], &from);
        prop_assert_eq!(&bytes[12..], &before[12..]);
    }

    #[test]
    fn truncated_packet_is_not_written_beyond_its_end((sample, to) in translation(), cut in 14..54_usize) {
        let mut bytes = sample.build();
        let parsed = parsed(&mut bytes);
        bytes.truncate(cut);
        // The parser rejects such a packet; rewriting must be safe without that check.
        let _ = translate(&mut Slice(&mut bytes), &parsed, &to, REWRITE_SRC | REWRITE_DST);
        prop_assert_eq!(bytes.len(), cut.min(sample.build().len()));
    }
}
