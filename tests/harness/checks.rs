//! What must be true of a namespace after a test.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::Netns;

/// Fails if netfilter could have translated anything in the namespace: a NAT rule of nftables, of either iptables, or
/// an entry of connection tracking. Looking loads no table: that alone would switch connection tracking on.
#[track_caller]
pub fn assert_no_netfilter(netns: &Netns) {
    let rules = netns.exec("nft list ruleset");
    let nat = rules.lines().map(str::trim).find(|line| {
        line.starts_with("type nat ")
            || ["dnat", "snat", "masquerade", "redirect"]
                .iter()
                .any(|word| line.split_ascii_whitespace().any(|found| found == *word))
    });
    assert_eq!(nat, None, "nftables of {}:\n{rules}", netns.name());

    for (tables, program) in [
        ("ip_tables_names", "iptables-legacy"),
        ("ip6_tables_names", "ip6tables-legacy"),
    ] {
        let loaded = netns.enter(|| {
            fs::read_to_string(format!("/proc/thread-self/net/{tables}")).unwrap_or_default()
        });
        if loaded.lines().any(|table| table == "nat") {
            let rules = netns.exec(&format!("{program} -t nat -S"));
            let rule = rules.lines().find(|line| line.starts_with("-A"));
            assert_eq!(rule, None, "{program} of {}", netns.name());
        }
    }

    let tracked = netns
        .enter(|| fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default());
    assert_eq!(tracked, "", "tracked connections of {}", netns.name());
}

/// Fails if the stack of the namespace has received a packet with a wrong checksum or a malformed IP header.
#[track_caller]
pub fn assert_no_bad_checksums(netns: &Netns) {
    let bad: BTreeMap<String, u64> = counters(netns)
        .into_iter()
        .filter(|(name, count)| *count != 0 && name.ends_with("CsumErrors"))
        .collect();
    assert!(bad.is_empty(), "{}: {bad:?}", netns.name());
}

/// The protocol counters of the namespace since it was made, named as `nstat` names them: `TcpInCsumErrors`,
/// `IpInHdrErrors`, `Ip6OutForwDatagrams`, …
pub fn counters(netns: &Netns) -> BTreeMap<String, u64> {
    let (tables, v6) = netns.enter(|| {
        let read =
            |file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        (read("snmp") + &read("netstat"), read("snmp6"))
    });
    let mut found = BTreeMap::new();
    let lines: Vec<&str> = tables.lines().collect();
    for pair in lines.chunks_exact(2) {
        let (Some((group, names)), Some((_, values))) =
            (pair[0].split_once(':'), pair[1].split_once(':'))
        else {
            continue;
        };
        let values = values.split_ascii_whitespace();
        for (name, value) in names.split_ascii_whitespace().zip(values) {
            if let Ok(value) = value.parse() {
                found.insert(format!("{group}{name}"), value);
            }
        }
    }
    for line in v6.lines() {
        if let Some((name, value)) = line.split_once(char::is_whitespace)
            && let Ok(value) = value.trim().parse()
        {
            found.insert(name.to_owned(), value);
        }
    }
    found
}

/// Every file below a directory, relative to it and sorted: what is pinned below one of bpffs.
pub fn pin_names(directory: &Path) -> Vec<PathBuf> {
    fn walk(root: &Path, directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(root, &path, found);
            } else if let Ok(relative) = path.strip_prefix(root) {
                found.push(relative.to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(directory, directory, &mut found);
    found.sort();
    found
}
