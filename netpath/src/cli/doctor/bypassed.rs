//! Rules and policies of other programs that redirected packets do not pass: netfilter before and in forwarding, and IPsec.

use super::{Finding, Printed, print_of};

/// Largest number of items that a finding lists; a host may have hundreds.
const SHOWN: usize = 8;

/// Hooks of netfilter that a packet passes if the stack forwards it, but not if netpath redirects it.
const HOOKS: [&str; 4] = ["ingress", "prerouting", "forward", "postrouting"];

/// The built-in chains of iptables at these hooks.
const CHAINS: [&str; 3] = ["PREROUTING", "FORWARD", "POSTROUTING"];

/// Checks nftables, legacy iptables and IPsec.
pub(super) fn check() -> Vec<Finding> {
    let mut chains = Vec::new();
    let mut failure = None;
    match print_of("nft", &["list", "ruleset"]) {
        Printed::Text(text) => chains.extend(nft_chains(&text)),
        Printed::Missing => {
            failure = Some((
                "nft is not installed".to_owned(),
                "install the package nftables",
            ))
        }
        Printed::Failed(reason) => failure = Some((format!("nft: {reason}"), "run as root")),
    }
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        if let Printed::Text(text) = print_of(program, &[]) {
            let program = program.trim_end_matches("-save");
            chains.extend(saved_chains(program, &text));
        }
    }
    let rules = match failure {
        Some((reason, fix)) if chains.is_empty() => {
            Finding::unchecked("bypassed-rules", reason, fix)
        }
        _ => judge_rules(&chains),
    };
    let policies = match print_of("ip", &["-o", "xfrm", "policy"]) {
        Printed::Text(text) => judge_policies(&policies(&text)),
        Printed::Missing => Finding::unchecked(
            "ipsec",
            "ip is not installed",
            "install the package iproute2",
        ),
        Printed::Failed(reason) => Finding::unchecked(
            "ipsec",
            format!("policies cannot be listed: {reason}"),
            "run as root",
        ),
    };
    vec![rules, policies]
}

fn judge_rules(chains: &[String]) -> Finding {
    if chains.is_empty() {
        return Finding::ok(
            "bypassed-rules",
            "no firewall rules that redirected packets bypass",
        );
    }
    Finding::warn(
        "bypassed-rules",
        format!(
            "packets that netpath redirects do not pass these chains: {}",
            list(chains)
        ),
        "for sandboxes, use 'netpath deny add CIDR' and 'netpath port publish --allow CIDR' instead",
    )
}

fn judge_policies(policies: &[String]) -> Finding {
    if policies.is_empty() {
        return Finding::ok("ipsec", "no IPsec policies");
    }
    Finding::warn(
        "ipsec",
        format!(
            "packets that netpath redirects are neither encrypted nor checked by these policies: {}",
            list(policies)
        ),
        "use an IPsec interface (ip link add type xfrm), through which packets are routed",
    )
}

fn list(items: &[String]) -> String {
    let shown = items.iter().take(SHOWN).map(String::as_str);
    let mut list = shown.collect::<Vec<_>>().join(", ");
    let more = items.len().saturating_sub(SHOWN);
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    list
}

/// A chain of a ruleset.
#[derive(Default)]
struct Chain {
    name: String,
    /// Whether it is at one of [`HOOKS`] and does not translate. Translating chains are reported separately.
    is_bypassed: bool,
    drops: bool,
    rules: usize,
}

impl Chain {
    /// Its name and size; `None` if it changes nothing or is not bypassed.
    fn text(&self) -> Option<String> {
        let text = match (self.rules, self.drops) {
            (0, false) => return None,
            (0, true) => format!("{} (policy drop)", self.name),
            (1, _) => format!("{} (1 rule)", self.name),
            (rules, _) => format!("{} ({rules} rules)", self.name),
        };
        self.is_bypassed.then_some(text)
    }
}

/// The bypassed chains in the output of `nft list ruleset`.
fn nft_chains(ruleset: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut table = "";
    let mut chain: Option<Chain> = None;
    // Nested blocks of a rule, such as the elements of a set.
    let mut depth = 0_usize;
    for line in ruleset.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches(" {");
            continue;
        }
        let Some(current) = &mut chain else {
            if let Some(name) = line.strip_prefix("chain ") {
                let name = format!("{table} {}", name.trim_end_matches(" {"));
                chain = Some(Chain {
                    name,
                    ..Chain::default()
                });
            }
            continue;
        };
        let (opened, closed) = (line.matches('{').count(), line.matches('}').count());
        if depth == 0 && line == "}" {
            found.extend(current.text());
            chain = None;
            continue;
        }
        if depth == 0 {
            note_line(current, line);
        }
        depth = (depth + opened).saturating_sub(closed);
    }
    found
}

/// Notes a line of a chain: its declaration or a rule.
fn note_line(chain: &mut Chain, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["type", kind, "hook", hook, ..] => {
            chain.is_bypassed = kind != "nat" && HOOKS.contains(&hook);
            chain.drops = line.contains("policy drop");
        }
        [] | ["comment", ..] => {}
        _ => chain.rules += 1,
    }
}

/// The bypassed chains in the output of `iptables-save`.
fn saved_chains(program: &str, saved: &str) -> Vec<String> {
    let mut found: Vec<Chain> = Vec::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some((name, rest)) =
            line.strip_prefix(':').and_then(|line| line.split_once(' '))
        {
            found.push(Chain {
                name: format!("{program} {table} {name}"),
                is_bypassed: table != "nat" && CHAINS.contains(&name),
                drops: rest.starts_with("DROP"),
                rules: 0,
            });
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let name = rule.split(' ').next().unwrap_or_default();
            let name = format!("{program} {table} {name}");
            if let Some(chain) = found.iter_mut().find(|chain| chain.name == name) {
                chain.rules += 1;
            }
        }
    }
    found.iter().filter_map(Chain::text).collect()
}

/// The policies in the output of `ip -o xfrm policy`, without those of single sockets.
fn policies(listing: &str) -> Vec<String> {
    let lines = listing.lines().filter_map(|line| {
        let (selector, rest) = line.split_once('\\')?;
        let mut words = rest.split_whitespace();
        words.find(|word| *word == "dir")?;
        Some(format!("{} dir {}", selector.trim(), words.next()?))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    const NFT: &str = "table inet bans {
\tset hosts {
\t\ttype ipv4_addr
\t\telements = { 203.0.113.1,
\t\t\t     203.0.113.2 }
\t}

\tchain early {
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tip saddr @hosts drop
\t\ttcp dport { 80,
\t\t\t    443 } accept
\t}

\tchain helper {
\t\tdrop
\t}

\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t}

\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\taccept
\t}

\tchain nat {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\ttcp dport 80 dnat ip to 10.0.0.1
\t}

\tchain empty {
\t\ttype filter hook postrouting priority filter; policy accept;
\t}
}
table netdev early {
\tchain ingress {
\t\ttype filter hook ingress device \"eth0\" priority filter; policy accept;
\t\tip saddr 203.0.113.9 drop
\t}
}
";

    const SAVED: &str = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -s 203.0.113.1/32 -j DROP\nCOMMIT\n\
        *filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:USER - [0:0]\n-A FORWARD -j USER\n-A USER -j DROP\nCOMMIT\n\
        *nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DNAT --to 10.0.0.1\nCOMMIT\n";

    #[test]
    fn class4_chains_that_redirected_packets_bypass_are_listed() {
        assert_eq!(
            nft_chains(NFT),
            [
                "inet bans early (2 rules)",
                "inet bans forward (policy drop)",
                "netdev early ingress (1 rule)",
            ]
        );
        assert_eq!(
            saved_chains("iptables-legacy", SAVED),
            [
                "iptables-legacy raw PREROUTING (1 rule)",
                "iptables-legacy filter FORWARD (1 rule)",
            ]
        );
        let found = judge_rules(&nft_chains(NFT));
        assert_eq!(found.status, Level::Warn);
        assert!(found.message.contains("inet bans early (2 rules), "));
        assert_eq!(judge_rules(&nft_chains("")).status, Level::Ok);
    }

    #[test]
    fn class4_ipsec_policies_are_listed() {
        let listing = "src 10.0.0.0/8 dst 10.1.0.0/16 \\\tdir out priority 0 ptype main \\\ttmpl src 192.0.2.1 dst 192.0.2.2\\\t\tproto esp reqid 0 mode tunnel\\\n\
            src 0.0.0.0/0 dst 0.0.0.0/0 \\\tsocket in priority 0 ptype main \\\n";
        let found = policies(listing);
        assert_eq!(found, ["src 10.0.0.0/8 dst 10.1.0.0/16 dir out"]);
        assert_eq!(judge_policies(&found).status, Level::Warn);
        assert_eq!(judge_policies(&policies("")).status, Level::Ok);
    }

    #[test]
    fn long_lists_are_shortened() {
        let items: Vec<String> = (0..10).map(|number| format!("chain {number}")).collect();
        assert!(list(&items).ends_with("chain 7 and 2 more"));
    }
}
