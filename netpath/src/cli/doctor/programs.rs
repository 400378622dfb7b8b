//! BPF programs of other tools on network devices. netpath does not change them.

use serde_json::Value;

use super::{Finding, Printed, print_of};
use crate::kernel::is_own_device;

/// Checks this network namespace, if `bpftool` is installed.
pub(super) fn check() -> Vec<Finding> {
    let finding = match print_of("bpftool", &["-j", "net", "show"]) {
        Printed::Missing => Finding::unchecked(
            "programs",
            "bpftool is not installed",
            "install the package bpftool",
        ),
        Printed::Failed(reason) => Finding::unchecked(
            "programs",
            format!("cannot be listed: {reason}"),
            "run as root",
        ),
        Printed::Text(text) => judge(&foreign(&text)),
    };
    vec![finding]
}

fn judge(foreign: &[String]) -> Finding {
    if foreign.is_empty() {
        Finding::ok("programs", "no programs of other tools on network devices")
    } else {
        Finding::warn(
            "programs",
            format!(
                "programs of other tools process packets too, or are bypassed if they run after netpath's: {}",
                foreign.join(", ")
            ),
            "make sure that they pass netpath's packets: bpftool net show",
        )
    }
}

/// `PROGRAM on DEVICE` for each program that is not netpath's.
fn foreign(json: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(json).unwrap_or_default();
    let groups = document.as_array().into_iter().flatten();
    groups
        .filter_map(Value::as_object)
        .flat_map(|group| {
            ["xdp", "tc"]
                .into_iter()
                .filter_map(|kind| group.get(kind)?.as_array())
                .flatten()
        })
        .filter_map(|program| {
            let device = program.get("devname")?.as_str()?;
            let name = program
                .get("name")
                .and_then(Value::as_str)
                .map_or_else(|| name_of(program), str::to_owned);
            let own = is_own_device(device)
                || name.starts_with("netpath")
                || name.starts_with("uplink_")
                || name.starts_with("endpoint_")
                || name.starts_with("xdp_deny");
            // After netpath's ingress program, no other program sees a redirected packet.
            let kind = program.get("kind").and_then(Value::as_str);
            let hook = kind.map_or_else(String::new, |kind| format!(" ({kind})"));
            (!own).then(|| format!("{name} on {device}{hook}"))
        })
        .collect()
}

/// The name of an XDP program, which older versions of bpftool list by its id only.
fn name_of(program: &Value) -> String {
    let shown = program.get("id").map(|id| {
        let id = id.to_string();
        print_of("bpftool", &["-j", "prog", "show", "id", &id])
    });
    let document: Value = match shown {
        Some(Printed::Text(text)) => serde_json::from_str(&text).unwrap_or_default(),
        _ => Value::Null,
    };
    let name = document.get("name").and_then(Value::as_str);
    name.unwrap_or("unnamed").to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn programs_of_other_tools_are_listed() {
        let json = r#"[{"xdp":[{"devname":"eth0","ifindex":2,"mode":"driver"}],
            "tc":[{"devname":"eth0","ifindex":2,"kind":"tcx/ingress","name":"uplink_ingress","prog_id":7},
                  {"devname":"eth0","ifindex":2,"kind":"tcx/ingress","name":"cil_from_netdev","prog_id":8}],
            "flow_dissector":[],"netfilter":[]}]"#;
        let found = foreign(json);
        assert_eq!(
            found,
            ["unnamed on eth0", "cil_from_netdev on eth0 (tcx/ingress)"]
        );
        assert_eq!(judge(&found).status, Level::Warn);
        assert_eq!(judge(&foreign("[]")).status, Level::Ok);
        assert_eq!(judge(&foreign("garbage")).status, Level::Ok);
    }
}
