use super::*;

fn subnet(prefix: &str) -> Subnet {
    let prefix: IpNet = prefix.parse().unwrap();
    Subnet {
        prefix,
        gateway: crate::ipam::address(bounds(&prefix).0 + 1, prefix.addr()),
        range: None,
    }
}

fn layout(prefixes: &[&str]) -> Layout {
    let subnets: Vec<Subnet> = prefixes.iter().map(|text| subnet(text)).collect();
    Layout::of(&subnets)
}

fn claims() -> Claims {
    Claims::of(Id::from_random(0x0123_4567_89ab))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn released_block_is_claimed_as_late_as_possible() {
    let layout = layout(&["10.0.0.0/28"]);
    let mut claims = claims();
    let mut claimed = Vec::new();
    for _ in 0..5 {
        claimed.push(claims.claim(&layout, &name("a"), 1).unwrap());
        claims.release(&name("a"));
    }
    assert_eq!(claimed, [0, 1, 2, 3, 0]);
    for _ in 0..4 {
        assert!(claims.claim(&layout, &name("b"), 1).is_some());
    }
    assert_eq!(claims.claim(&layout, &name("a"), 1), None);
    assert_eq!(claims.nodes(), [&name("b")].into());
}

#[test]
fn block_without_an_address_for_a_sandbox_is_not_claimed() {
    let layout = layout(&["10.0.0.0/30"]);
    let mut claims = claims();
    assert_eq!(claims.claim(&layout, &name("a"), 1), Some(2));
    assert_eq!(claims.claim(&layout, &name("a"), 1), None);
}

#[test]
fn index_is_that_of_the_blocks_of_both_families() {
    let layout = layout(&["10.0.0.0/22", "fd00::/64"]);
    assert_eq!(layout.count(), 16);
    let blocks: Vec<_> = layout.get(3).map(|net| net.to_string()).collect();
    assert_eq!(blocks, ["10.0.0.192/26", "fd00::3:0/112"]);
    assert_eq!(layout.index_of(ip("fd00::3:9")), Some(3));
    assert_eq!(
        layout.index_of(ip("fd00::10:0")),
        None,
        "more blocks than of IPv4"
    );
}

#[test]
fn address_of_another_node_cannot_be_kept() {
    let layout = layout(&["10.0.0.0/24"]);
    let mut claims = claims();
    let (a, b) = (name("a"), name("b"));
    assert_eq!(claims.claim(&layout, &a, 1), Some(0));
    let refused = claims.keep(&layout, ip("10.0.0.9"), &b, 2, None);
    assert_eq!(refused, Err(KeepError::Claimed(a.clone())));
    claims.keep(&layout, ip("10.0.0.200"), &b, 2, None).unwrap();
    let refused = claims.keep(&layout, ip("10.0.0.200"), &a, 3, None);
    assert_eq!(refused, Err(KeepError::Claimed(b.clone())));
    // A block that contains an address of another node is claimed without it.
    claims.next = layout.index_of(ip("10.0.0.200")).unwrap();
    assert_eq!(claims.claim(&layout, &a, 4), Some(12));
    let own = OwnClaims::of(&claims, &layout, &a);
    assert_eq!(own.except, [ip("10.0.0.200")].into());
    let network = name("web");
    let remotes: Vec<_> = claims.remotes(&layout, &network, &a).collect();
    assert_eq!(remotes.len(), 1);
    assert_eq!(remotes[0].prefix.to_string(), "10.0.0.200/32");
    claims.forget(ip("10.0.0.200"), &a);
    assert_eq!(claims.kept.len(), 1);
    claims.forget(ip("10.0.0.200"), &b);
    assert_eq!(claims.kept.len(), 0);
}

#[test]
fn earlier_claim_remains_after_the_store_was_restored() {
    let layout = layout(&["10.0.0.0/24"]);
    let (a, b) = (name("a"), name("b"));
    let mut restored = claims();
    let mut before = restored.clone();
    assert_eq!(before.claim(&layout, &a, 10), Some(0));
    assert_eq!(before.claim(&layout, &a, 11), Some(1));
    let own = OwnClaims::of(&before, &layout, &a);

    // Another node claims a block that the snapshot does not have.
    assert_eq!(restored.claim(&layout, &b, 20), Some(0));
    let later = OwnClaims::of(&restored, &layout, &b);
    assert_eq!(restored.assert(&layout, &a, &own), []);
    assert_eq!(OwnClaims::of(&restored, &layout, &a), own);
    // It disputes the block until its node confirms it.
    assert_eq!(restored.assert(&layout, &b, &later), []);
    let disputed = OwnClaims::of(&restored, &layout, &b);
    assert_eq!(disputed.prefixes(&layout), []);
    assert!(restored.is_disputed(&a) && !restored.is_disputed(&b));
    assert_eq!(restored.assert(&layout, &a, &own), []);
    let lost = restored.assert(&layout, &b, &disputed);
    assert_eq!(lost.len(), 1);
    assert_eq!((&lost[0].node, lost[0].prefixes.len()), (&a, 1));
    assert_eq!(OwnClaims::of(&restored, &layout, &a), own);
}

#[test]
fn claim_that_a_node_had_released_before_the_store_was_restored_is_given_up() {
    let layout = layout(&["10.0.0.0/28"]);
    let (a, b) = (name("a"), name("b"));
    let mut claims = claims();
    assert_eq!(claims.claim(&layout, &b, 1), Some(0));
    let mut restored = claims.clone();
    claims.release(&b);
    claims.next = 0;
    assert_eq!(claims.claim(&layout, &a, 2), Some(0));
    let own = OwnClaims::of(&claims, &layout, &a);
    let none = OwnClaims::of(&claims, &layout, &b);

    assert_eq!(restored.assert(&layout, &a, &own), []);
    assert_eq!(restored.claim(&layout, &name("c"), 3), Some(1));
    assert_eq!(restored.assert(&layout, &b, &none), []);
    assert_eq!(OwnClaims::of(&restored, &layout, &a), own);
    // A node that does not return is removed by an operator.
    let mut restored = self::claims();
    restored.claim(&layout, &b, 1);
    restored.assert(&layout, &a, &own);
    restored.release(&b);
    assert_eq!(OwnClaims::of(&restored, &layout, &a), own);
}

#[test]
fn claims_that_a_node_has_not_recorded_are_released() {
    let layout = layout(&["10.0.0.0/24"]);
    let a = name("a");
    let mut claims = claims();
    let own = OwnClaims::of(&claims, &layout, &a);
    claims.claim(&layout, &a, 1);
    claims.keep(&layout, ip("10.0.0.200"), &a, 1, None).unwrap();
    assert_eq!(claims.assert(&layout, &a, &own), []);
    assert!(claims.nodes().is_empty());
}
