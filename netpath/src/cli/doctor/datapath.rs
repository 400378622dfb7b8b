//! Verifier and helpers: every program is loaded once, in a private mount namespace.

use serde_json::Value;

use super::{Finding, Printed, print_of};
use crate::{
    datapath::{Features, probe},
    kernel::mounts,
};

/// Loads every program and asks for the features of the kernel.
pub(super) fn check() -> Vec<Finding> {
    let loaded = match mounts::with_private_bpffs(probe::load_all) {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => return vec![not_checked(&error)],
        Err(error) => return vec![not_checked(&error)],
    };
    let mut findings = Vec::new();
    let (mut accepted, mut instructions) = (0, 0);
    for result in loaded.programs.values() {
        match result {
            Ok(cost) => {
                accepted += 1;
                instructions += u64::from(cost.verified);
            }
            Err(error) => findings.push(Finding::fail(
                "verifier",
                error.to_string(),
                "report this kernel, and install one that the documentation lists as tested",
            )),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "verifier",
            format!("{accepted} programs load, {instructions} instructions verified"),
        ));
    }
    if let Some(features) = loaded.features {
        findings.push(list(features));
        findings.extend(needed(features));
    }
    findings
}

fn not_checked(error: &dyn std::error::Error) -> Finding {
    Finding::unchecked("verifier", error.to_string(), "run as root")
}

fn list(features: Features) -> Finding {
    let missing: Vec<_> = features
        .list()
        .into_iter()
        .filter(|(_, known, _)| !known)
        .map(|(name, _, instead)| format!("no {name}: {instead}"))
        .collect();
    if missing.is_empty() {
        Finding::ok("features", "the kernel has every optional feature")
    } else {
        Finding::ok("features", missing.join("; "))
    }
}

/// Configuration of this host that netpath cannot apply, because the kernel lacks a feature.
fn needed(features: Features) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !features.mark {
        let rules = both_families(&["rule", "show"]);
        findings.extend(rules.map(|list| {
            judge(
                "fwmark",
                marked(&list),
                "policy rules with 'fwmark' do not apply to packets of sandboxes",
            )
        }));
    }
    if !features.source {
        let routes = both_families(&["route", "show", "table", "main"]);
        findings.extend(routes.map(|list| {
            judge(
                "route_source",
                preferring(&list),
                "outbound flows do not use the 'src' of these routes, but that of the uplink's default route, \
                 otherwise its first usable address",
            )
        }));
    }
    findings
}

/// The entries that `ip` lists for IPv4 and IPv6; `None` if it cannot be run.
fn both_families(arguments: &[&str]) -> Option<Vec<Value>> {
    let mut entries = Vec::new();
    for family in ["-4", "-6"] {
        let words: Vec<_> = ["-j", family].iter().chain(arguments).copied().collect();
        let Printed::Text(text) = print_of("ip", &words) else {
            return None;
        };
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        entries.extend(list.as_array().cloned().unwrap_or_default());
    }
    Some(entries)
}

fn judge(name: &'static str, found: Vec<String>, effect: &str) -> Finding {
    if found.is_empty() {
        Finding::ok(
            name,
            "the kernel lacks this feature; no entry of this host depends on it",
        )
    } else {
        Finding::warn(
            name,
            format!("{effect}: {}", found.join(", ")),
            "install a newer kernel, see the documentation",
        )
    }
}

/// Policy rules with a mark, by priority.
fn marked(rules: &[Value]) -> Vec<String> {
    let with_mark = rules.iter().filter(|rule| rule.get("fwmark").is_some());
    with_mark
        .map(|rule| format!("rule {}", rule["priority"]))
        .collect()
}

/// Routes through a gateway with a preferred source.
fn preferring(routes: &[Value]) -> Vec<String> {
    routes
        .iter()
        .filter(|route| route.get("gateway").is_some())
        .filter_map(|route| {
            let source = route.get("prefsrc")?.as_str()?;
            Some(format!("{} src {source}", route["dst"].as_str()?))
        })
        .filter(|route| !route.starts_with("default "))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Level, *};

    #[test]
    fn missing_features_are_named_with_their_replacement() {
        let all = Features {
            tcx: true,
            skip_neighbour: true,
            source: true,
            mark: true,
            checksum_ipv6: true,
        };
        assert_eq!(list(all).message, "the kernel has every optional feature");
        let finding = list(Features { tcx: false, ..all });
        assert_eq!(
            finding.message,
            "no tcx: programs are filters of the clsact qdisc"
        );
        assert_eq!(finding.status, Level::Ok);
    }

    #[test]
    fn rules_with_mark_and_routes_with_source_are_named() {
        let rules = [
            json!({"priority": 0, "src": "all", "table": "local"}),
            json!({"priority": 100, "src": "all", "fwmark": "0x7", "table": "vpn"}),
        ];
        assert_eq!(marked(&rules), ["rule 100"]);
        let routes = [
            json!({"dst": "default", "gateway": "192.0.2.1", "prefsrc": "192.0.2.9"}),
            json!({"dst": "203.0.113.0/24", "gateway": "192.0.2.2", "prefsrc": "192.0.2.77"}),
            json!({"dst": "192.0.2.0/24", "dev": "eth0", "prefsrc": "192.0.2.9"}),
        ];
        assert_eq!(preferring(&routes), ["203.0.113.0/24 src 192.0.2.77"]);
        assert_eq!(judge("fwmark", marked(&rules), "x").status, Level::Warn);
        assert_eq!(judge("fwmark", Vec::new(), "x").status, Level::Ok);
    }
}
