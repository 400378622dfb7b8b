//! Requests about the deny list.

use core::time::Duration;
use std::sync::Arc;

use crate::model::{
    Change, DenyPrefix, State,
    deny::Moment,
    request::{ErrorKind, RequestError},
};

const NOW: Moment = Moment {
    monotonic: 1_000,
    boot: 1,
    unix_ms: 50_000,
};

fn prefixes(texts: &[&str]) -> Vec<DenyPrefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A state with this entry of the settings file.
fn state(configured: &str) -> State {
    let configured = [configured.parse().unwrap()];
    State::default().with_configured_denials(Arc::new(configured.into()))
}

fn deny(state: &mut State, text: &str, seconds: Option<u64>) -> Result<Change, RequestError> {
    let expires = seconds.map(|seconds| NOW.after(Duration::from_secs(seconds)));
    let change = state.deny(&prefixes(&[text]), expires, NOW)?;
    state.apply(&change).unwrap();
    Ok(change)
}

#[test]
fn listed_prefix_is_refused_and_removed_once() {
    let mut state = state("192.0.2.0/24");
    let added = deny(&mut state, "203.0.113.0/24", Some(10)).unwrap();
    let again = deny(&mut state, "203.0.113.0/24", None).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert_eq!(
        again.to_string(),
        "203.0.113.0/24 is in the deny list already"
    );
    for refused in [
        deny(&mut state, "192.0.2.0/24", None),
        state.remove_denials(&prefixes(&["192.0.2.0/24"])),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(refused.to_string().contains("settings file"), "{refused}");
    }
    let absent = state.remove_denials(&prefixes(&["203.0.113.7"]));
    let absent = absent.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    assert!(absent.hint().starts_with("203.0.113.0/24"), "{absent:?}");
    let removed = state
        .remove_denials(&prefixes(&["203.0.113.0/24"]))
        .unwrap();
    assert_eq!(removed, added.reversed());
    state.apply(&removed).unwrap();
    assert!(state.apply(&removed).is_err());
    assert_eq!(state.deny_list().len(), 1);
}

#[test]
fn expired_entry_is_removed_or_replaced() {
    let mut state = state("192.0.2.0/24");
    deny(&mut state, "203.0.113.0/24", Some(10)).unwrap();
    assert_eq!(state.remove_expired_denials(NOW), None);
    let later = NOW.after(Duration::from_secs(10));
    let removal = state.remove_expired_denials(later).unwrap();
    let replacement = state
        .deny(&prefixes(&["203.0.113.0/24"]), None, later)
        .unwrap();
    for change in [removal, replacement] {
        let mut state = state.clone();
        state.apply(&change).unwrap();
        assert_eq!(state.remove_expired_denials(later), None);
    }
}

#[test]
fn entries_are_renewed_after_a_restart_of_the_machine_only() {
    let mut state = state("192.0.2.0/24");
    deny(&mut state, "203.0.113.0/24", Some(10)).unwrap();
    deny(&mut state, "203.0.114.0/24", None).unwrap();
    assert_eq!(state.renew_denials(NOW), None);
    let restarted = Moment {
        monotonic: 5,
        boot: 2,
        unix_ms: 54_000,
    };
    let change = state.renew_denials(restarted).unwrap();
    state.apply(&change).unwrap();
    assert_eq!(state.renew_denials(restarted), None);
    let mut entries = state.deny_list().iter();
    let expires = entries.find_map(|denial| denial.expires).unwrap();
    assert_eq!(expires.monotonic, 5 + 6_000_000_000);
}
