//! Interfaces of the node: those that can serve published ports, and those whose packets cannot be handled.

use std::collections::BTreeSet;

use super::Finding;
use crate::kernel::{Error, Kernel, NodeFacts};

/// Names that a finding lists; a busy host has hundreds.
const SHOWN: usize = 8;

/// Checks the devices of this network namespace, as a daemon without the setting `uplink` uses them.
pub(super) async fn check() -> Vec<Finding> {
    vec![match facts().await {
        Ok(facts) => judge(&facts),
        Err(error) => Finding::unchecked("interfaces", error.to_string(), "run as root"),
    }]
}

async fn facts() -> Result<NodeFacts, Error> {
    Kernel::open()?.facts(&[], &BTreeSet::new()).await
}

fn judge(facts: &NodeFacts) -> Finding {
    if !facts.degraded.is_empty() {
        return Finding::warn(
            "interfaces",
            facts.degraded.join("; "),
            "see 'interfaces' in the output of netpath status",
        );
    }
    let devices = facts.devices.iter();
    let names: Vec<_> = devices
        .filter(|device| device.role.is_uplink())
        .map(|device| device.name.as_str())
        .collect();
    let more = names.len().saturating_sub(SHOWN);
    let mut list = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    Finding::ok(
        "interfaces",
        format!("published ports are served on {list}"),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};
    use crate::{
        kernel::{DeviceRole, Role},
        plan::LinkHeader,
    };

    #[test]
    fn class1_interfaces_and_problems_are_listed() {
        let device = |index: u32| DeviceRole {
            index,
            name: format!("eth{index}"),
            role: Role::Uplink(LinkHeader::Ethernet),
        };
        let mut facts = NodeFacts {
            devices: (0..10).map(device).collect(),
            ..NodeFacts::default()
        };
        let found = judge(&facts);
        assert_eq!(found.status, Level::Ok);
        assert!(
            found.message.ends_with("eth7 and 2 more"),
            "{}",
            found.message
        );
        facts.degraded = vec!["ib0: its link layer is not supported".to_owned()];
        let found = judge(&facts);
        assert_eq!(found.status, Level::Warn);
        assert!(found.message.starts_with("ib0"));
    }
}
