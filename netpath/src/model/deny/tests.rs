//! Texts of prefixes, moments, and the entries of the map.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const NOW: Moment = Moment {
    monotonic: 1_000,
    boot: 1,
    unix_ms: 50_000,
};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn at(monotonic: u64) -> Option<Moment> {
    Some(Moment { monotonic, ..NOW })
}

/// Until when the longest prefix in the map denies an address; 0 if none contains it.
fn found(map: &BTreeMap<IpNet, u64>, ip: IpAddr) -> u64 {
    let containing = map.iter().filter(|(prefix, _)| prefix.contains(&ip));
    let longest = containing.max_by_key(|(prefix, _)| prefix.prefix_len());
    longest.map_or(0, |(_, until)| *until)
}

#[test]
fn prefixes_and_addresses_are_parsed() {
    let parsed = |text: &str| text.parse::<DenyPrefix>().map(|prefix| prefix.to_string());
    for (text, expected) in [
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.7", "203.0.113.7/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(parsed(text).as_deref(), Ok(expected));
    }
    for text in [
        "",
        "banana",
        "203.0.113.0/33",
        "203.0.113",
        "2001:db8::/129",
    ] {
        let error = parsed(text).unwrap_err();
        assert!(matches!(error, DenyPrefixError::Syntax { .. }), "{error}");
    }
    assert_eq!(
        parsed("203.0.113.7/24").unwrap_err().to_string(),
        "'203.0.113.7/24' has host bits; the prefix is 203.0.113.0/24"
    );
}

#[test]
fn moment_follows_the_wall_clock_after_a_restart_of_the_machine() {
    let moment = NOW.after(Duration::from_secs(10));
    assert_eq!(moment.left(NOW), Some(Duration::from_secs(10)));
    let later = Moment {
        monotonic: 77,
        boot: 2,
        unix_ms: 54_000,
    };
    assert_eq!(moment.left(later), Some(Duration::from_secs(6)));
    assert_eq!(moment.on_clock_of(later).boot, 2);
    let expired = Moment {
        unix_ms: 60_000,
        ..later
    };
    assert_eq!(moment.left(expired), None);
    // A change of the wall clock without a restart.
    let changed = Moment {
        unix_ms: 1_000_000,
        ..NOW
    };
    assert_eq!(moment.left(changed), Some(Duration::from_secs(10)));
}

#[test]
fn expired_longer_prefix_does_not_hide_a_shorter_one() {
    let list = DenyList {
        configured: Arc::default(),
        entries: [
            (net("10.0.0.0/8"), at(9_000)),
            (net("10.1.0.0/16"), at(2_000)),
            (net("10.1.1.0/24"), None),
            (net("10.1.1.1/32"), at(3_000)),
            (net("11.0.0.0/8"), at(5_000)),
        ]
        .into(),
    };
    let map = list.map_entries();
    let until = |text: &str| found(&map, text.parse().unwrap());
    assert_eq!(until("10.1.2.3"), 9_000);
    assert_eq!(until("10.1.1.1"), u64::MAX);
    assert_eq!(until("11.1.1.1"), 5_000);
    assert_eq!(until("12.1.1.1"), 0);
}

#[test]
fn change_affects_the_prefixes_within_only() {
    let mut list = DenyList {
        configured: Arc::new([net("10.2.0.0/16")].into()),
        entries: [
            (net("10.1.0.0/16"), at(2_000)),
            (net("11.0.0.0/8"), at(5_000)),
        ]
        .into(),
    };
    let added: Denials = [(net("10.0.0.0/8"), at(9_000))].into();
    let expected_before = [(net("10.1.0.0/16"), 2_000), (net("10.2.0.0/16"), u64::MAX)].into();
    let expected_after = [
        (net("10.0.0.0/8"), 9_000),
        (net("10.1.0.0/16"), 9_000),
        (net("10.2.0.0/16"), u64::MAX),
    ]
    .into();
    let sides = list.map_entries_of_change(&Denials::new(), &added);
    assert_eq!(sides, (expected_before, expected_after));
    list.entries.extend(added.clone());
    assert_eq!(list.map_entries_of_change(&Denials::new(), &added), sides);
    let (before, after) = list.map_entries_of_change(&added, &Denials::new());
    assert_eq!((after, before), sides);
}

fn prefixes() -> impl Strategy<Value = IpNet> {
    // Few addresses, so that prefixes overlap.
    (0_u32..8, 26_u8..=32).prop_map(|(low, length)| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 | low << 3);
        IpNet::new(address.into(), length).unwrap().trunc()
    })
}

fn denials() -> impl Strategy<Value = Denials> {
    let expires = prop_oneof![Just(None), (1_u64..5).prop_map(at)];
    prop::collection::btree_map(prefixes(), expires, 0..6)
}

proptest! {
    #[test]
    fn longest_prefix_decides_as_every_prefix_does(
        configured in prop::collection::btree_set(prefixes(), 0..3),
        entries in denials(),
        now in 0_u64..6,
    ) {
        let list = DenyList { configured: Arc::new(configured), entries };
        let map = list.map_entries();
        for low in 0..64 {
            let ip = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 | low));
            let denied = list.iter().any(|denial| {
                denial.prefix.contains(&ip) && until(denial.expires) > now
            });
            prop_assert_eq!(found(&map, ip) > now, denied);
        }
    }

    #[test]
    fn change_turns_the_map_of_one_list_into_that_of_the_other(
        configured in prop::collection::btree_set(prefixes(), 0..3),
        entries in denials(),
        replaced in denials(),
    ) {
        let list = DenyList { configured: Arc::new(configured), entries };
        let before: Denials = replaced
            .keys()
            .filter_map(|prefix| Some((*prefix, *list.entries.get(prefix)?)))
            .collect();
        // Every third entry is removed.
        let after: Denials = replaced.into_iter().enumerate()
            .filter(|(index, _)| index % 3 != 2)
            .map(|(_, entry)| entry)
            .collect();
        let mut later = list.clone();
        later.entries.retain(|prefix, _| !before.contains_key(prefix));
        later.entries.extend(after.clone());
        for known in [&list, &later] {
            let (removed, added) = known.map_entries_of_change(&before, &after);
            let mut map = list.map_entries();
            map.retain(|prefix, _| !removed.contains_key(prefix));
            map.extend(added);
            prop_assert_eq!(map, later.map_entries());
        }
    }
}
