//! Queueing disciplines of other programs on netpath's devices: redirected packets do not pass them.

use super::Finding;
use crate::kernel;

/// Checks the devices of netpath in this network namespace.
pub(super) fn check() -> Vec<Finding> {
    let finding = match kernel::foreign_qdiscs() {
        Ok(found) => judge(&found),
        Err(error) => Finding::unchecked(
            "qdiscs",
            format!("cannot be listed: {error}"),
            "run as root",
        ),
    };
    vec![finding]
}

fn judge(found: &[(String, String)]) -> Finding {
    if found.is_empty() {
        return Finding::ok(
            "qdiscs",
            "no queueing disciplines of other programs on netpath's devices",
        );
    }
    let list: Vec<String> = found
        .iter()
        .map(|(device, kind)| format!("{kind} on {device}"))
        .collect();
    Finding::warn(
        "qdiscs",
        format!(
            "redirected packets do not pass queueing disciplines of other programs: {}",
            list.join(", ")
        ),
        "give the endpoint a rate (--rate), and remove these disciplines: tc qdisc del dev DEVICE root",
    )
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn queueing_disciplines_are_listed_with_their_devices() {
        let found = ("npv-aaaaaaaaaa".to_owned(), "tbf".to_owned());
        let finding = judge(&[found]);
        assert_eq!(finding.status, Level::Warn);
        assert!(finding.message.ends_with(": tbf on npv-aaaaaaaaaa"));
        assert_eq!(judge(&[]).status, Level::Ok);
    }
}
