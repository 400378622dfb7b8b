//! Container links belong to the workload once they are configured.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use netpath_common::addr::MacAddr;

use crate::plan::{
    Desired, Inside, Observed, ObservedInside, ObservedVeth, Operation, UsedRoute, Veth, plan,
};

const FIRST: &str = "npv-00000000e1";
const SECOND: &str = "npv-00000000e2";

/// A container link in the only sandbox of the tests.
fn veth(number: u8, gateways: &[&str]) -> Veth {
    Veth {
        bridge: format!("npb-00000000a{number}"),
        mtu: 1500,
        netns: PathBuf::from("/run/netns/web"),
        namespace: None,
        rate: None,
        inside: Inside {
            name: format!("eth{number}"),
            mac: MacAddr([2, 0, 0, 0, 0, number]),
            addresses: [
                format!("10.{number}.0.2/24"),
                format!("fd00:{number}::2/64"),
            ]
            .map(|net| net.parse().unwrap())
            .into(),
            gateways: gateways.iter().map(|ip| ip.parse().unwrap()).collect(),
        },
    }
}

fn desired(veths: &[(&str, Veth)]) -> Desired {
    let veths = veths.iter();
    Desired {
        veths: veths
            .map(|(name, veth)| ((*name).to_owned(), veth.clone()))
            .collect(),
        ..Desired::default()
    }
}

/// Lines of the operations on container links if the sandbox has one endpoint, whose state the workload has changed.
fn lines_after(change: impl FnOnce(&mut ObservedVeth)) -> Vec<String> {
    let desired = desired(&[(FIRST, veth(1, &["10.1.0.1", "fd00:1::1"]))]);
    let mut observed = Observed::complete(&desired);
    change(observed.veths.get_mut(FIRST).unwrap());
    lines(&desired, &observed)
}

fn lines(desired: &Desired, observed: &Observed) -> Vec<String> {
    let operations = plan(desired, observed).into_iter();
    let operations = operations.filter(|operation| {
        matches!(
            operation,
            Operation::MoveGateway { .. }
                | Operation::SetInside { .. }
                | Operation::RestoreInside { .. }
                | Operation::SetInsideMtu { .. }
        )
    });
    operations.map(|operation| operation.to_string()).collect()
}

fn inside(veth: &mut ObservedVeth) -> &mut ObservedInside {
    veth.inside.as_mut().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn class2_changes_of_the_workload_are_kept() {
    let none: [&str; 0] = [];
    let route_removed = lines_after(|veth| {
        inside(veth).gateways.clear();
        inside(veth).used_v4 = UsedRoute::None;
        inside(veth).used_v6 = UsedRoute::None;
    });
    assert_eq!(route_removed, none);
    let route_replaced = lines_after(|veth| {
        inside(veth).gateways.remove(&ip("10.1.0.1"));
        inside(veth).used_v4 = UsedRoute::Other;
    });
    assert_eq!(route_replaced, none);
    let more = lines_after(|veth| {
        let more = [ip("192.0.2.1"), ip("2001:db8::1")];
        inside(veth).addresses.extend(more);
        inside(veth).gateways.insert(ip("10.1.0.9"));
        inside(veth).mtu = 1280;
    });
    assert_eq!(more, none);
    let ipv6_disabled = lines_after(|veth| {
        inside(veth).ipv6 = false;
        inside(veth).addresses.remove(&ip("fd00:1::2"));
        inside(veth).gateways.remove(&ip("fd00:1::1"));
        inside(veth).used_v6 = UsedRoute::None;
    });
    assert_eq!(ipv6_disabled, none);
    let down = lines_after(|veth| {
        inside(veth).in_use = false;
        inside(veth).addresses.clear();
    });
    assert_eq!(down, none);
}

#[test]
fn class2_missing_address_is_added_with_the_default_route_of_its_family() {
    let lines = lines_after(|veth| {
        inside(veth).addresses.remove(&ip("fd00:1::2"));
    });
    assert_eq!(
        lines,
        [format!(
            "restore address fd00:1::2/64 and gateway fd00:1::1 in the sandbox of {FIRST}"
        )]
    );
}

#[test]
fn class2_unconfigured_container_link_is_configured() {
    let lines = lines_after(|veth| veth.configured = false);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("set container link"), "{lines:?}");
}

#[test]
fn class2_mtu_follows_the_network_unless_the_workload_has_changed_it() {
    let follows = lines_after(|veth| {
        veth.mtu = 1450;
        inside(veth).mtu = 1450;
    });
    let expected = format!("set MTU 1500 of the container link of {FIRST}");
    assert_eq!(follows, [expected]);
    let changed = lines_after(|veth| {
        veth.mtu = 1450;
        inside(veth).mtu = 1280;
    });
    assert_eq!(changed, [""; 0]);
}

/// Operations of a disconnect from the network with the default routes, while the sandbox uses these default routes.
fn lines_of_disconnect(used_v4: UsedRoute, used_v6: UsedRoute) -> Vec<String> {
    let before = desired(&[
        (FIRST, veth(1, &["10.1.0.1", "fd00:1::1"])),
        (SECOND, veth(2, &[])),
    ]);
    let mut observed = Observed::complete(&before);
    for veth in observed.veths.values_mut() {
        inside(veth).used_v4 = used_v4;
        inside(veth).used_v6 = used_v6;
    }
    let after = desired(&[(SECOND, veth(2, &["10.2.0.1", "fd00:2::1"]))]);
    let operations = plan(&after, &observed);
    let deletion = operations
        .iter()
        .position(|operation| matches!(operation, Operation::DeleteVeth { .. }));
    let last = operations
        .iter()
        .rposition(|operation| matches!(operation, Operation::MoveGateway { .. }));
    assert!(last < deletion, "{operations:#?}");
    lines(&after, &observed)
}

#[test]
fn class2_only_a_default_route_of_netpath_moves_to_another_network() {
    let moves = |gateway| format!("move the default route to {gateway} over {SECOND}");
    assert_eq!(
        lines_of_disconnect(UsedRoute::Own, UsedRoute::Own),
        [moves("10.2.0.1"), moves("fd00:2::1")]
    );
    assert_eq!(
        lines_of_disconnect(UsedRoute::Other, UsedRoute::Own),
        [moves("fd00:2::1")]
    );
    let none: [&str; 0] = [];
    assert_eq!(lines_of_disconnect(UsedRoute::None, UsedRoute::Other), none);
}

#[test]
fn class2_only_new_endpoints_are_configured_for_the_first_time() {
    let mut after = desired(&[(FIRST, veth(1, &[])), (SECOND, veth(2, &[]))]);
    after.first_veths = BTreeSet::from([SECOND.to_owned()]);
    let operations = plan(&after, &Observed::default());
    let first: Vec<(&str, bool)> = operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::SetInside { name, first, .. } => Some((name.as_str(), *first)),
            _ => None,
        })
        .collect();
    assert_eq!(first, [(FIRST, false), (SECOND, true)]);
}
