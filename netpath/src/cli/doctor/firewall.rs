//! Rules of other programs in this network namespace that affect netpath's packets.

use super::{Finding, Printed, print_of};

/// Checks nftables and legacy iptables.
pub(super) fn check() -> Vec<Finding> {
    let nft = match print_of("nft", &["list", "ruleset"]) {
        Printed::Text(text) => judge("nftables", nft_drops(&text), nft_translates(&text)),
        Printed::Missing => Finding::unchecked(
            "nftables",
            "nft is not installed",
            "install the package nftables",
        ),
        Printed::Failed(reason) => unknown("nftables", &reason),
    };
    let iptables =
        ["iptables-legacy-save", "ip6tables-legacy-save"].map(|program| {
            match print_of(program, &[]) {
                Printed::Text(text) => Some((save_drops(&text), save_translates(&text))),
                Printed::Missing | Printed::Failed(_) => None,
            }
        });
    let mut findings = vec![nft];
    let found: Vec<_> = iptables.into_iter().flatten().collect();
    if !found.is_empty() {
        findings.push(judge(
            "iptables",
            found.iter().any(|(drops, _)| *drops),
            found.iter().map(|(_, rules)| rules).sum(),
        ));
    }
    findings
}

fn judge(name: &'static str, drops: bool, translations: usize) -> Finding {
    match (drops, translations) {
        (true, _) => Finding::warn(
            name,
            "a chain drops forwarded packets by default: packets that netpath passes to the stack, such as those larger than an MTU, are dropped",
            if name == "nftables" {
                "accept forwarding in that chain: nft list chains | grep -A2 'hook forward'"
            } else {
                "iptables-legacy -P FORWARD ACCEPT"
            },
        ),
        (false, 0) => Finding::ok(name, "no rules that translate or drop forwarded packets"),
        (false, rules) => Finding::warn(
            name,
            format!(
                "{rules} rules of other programs translate addresses and may use the same ports"
            ),
            if name == "nftables" {
                "check which program owns them: nft list ruleset"
            } else {
                "check which program owns them: iptables-legacy-save -t nat"
            },
        ),
    }
}

fn unknown(name: &'static str, reason: &str) -> Finding {
    Finding::unchecked(name, format!("cannot be read: {reason}"), "run as root")
}

/// Whether a chain at the forward hook drops by default.
fn nft_drops(ruleset: &str) -> bool {
    ruleset
        .lines()
        .any(|line| line.contains("hook forward") && line.contains("policy drop"))
}

/// Number of rules that translate.
fn nft_translates(ruleset: &str) -> usize {
    ruleset
        .lines()
        .filter(|line| {
            line.split_whitespace()
                .any(|word| matches!(word, "masquerade" | "snat" | "dnat" | "redirect"))
                || line.contains("xt target \"MASQUERADE\"")
                || line.contains("xt target \"DNAT\"")
                || line.contains("xt target \"SNAT\"")
        })
        .count()
}

/// Whether the FORWARD chain drops by default.
fn save_drops(saved: &str) -> bool {
    saved.lines().any(|line| line.starts_with(":FORWARD DROP"))
}

/// Number of rules that translate.
fn save_translates(saved: &str) -> usize {
    let targets = ["MASQUERADE", "SNAT", "DNAT", "REDIRECT"];
    saved
        .lines()
        .filter(|line| {
            line.starts_with("-A")
                && line
                    .split_once(" -j ")
                    .and_then(|(_, target)| target.split(' ').next())
                    .is_some_and(|target| targets.contains(&target))
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    const NFT: &str = "table ip nat {\n\tchain POSTROUTING {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\
        \t\tip saddr 172.17.0.0/16 oifname != \"docker0\" counter masquerade\n\t}\n}\n\
        table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
    const SAVED: &str = "*nat\n:POSTROUTING ACCEPT [0:0]\n\
        -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
        -A DOCKER -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n\
        *filter\n:FORWARD DROP [0:0]\n-A FORWARD -j DOCKER-USER\nCOMMIT\n";

    #[test]
    fn foreign_rules_are_found() {
        assert!(nft_drops(NFT));
        assert_eq!(nft_translates(NFT), 1);
        assert!(save_drops(SAVED));
        assert_eq!(save_translates(SAVED), 2);
    }

    #[test]
    fn empty_firewall_output_is_ok() {
        assert!(!nft_drops("") && !save_drops(""));
        assert_eq!(
            judge("nftables", false, nft_translates("")).status,
            Level::Ok
        );
        assert_eq!(judge("nftables", false, 2).status, Level::Warn);
    }
}
