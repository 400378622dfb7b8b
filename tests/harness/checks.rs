//! Assertions about a namespace after a test, and its counters.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::Netns;

/// Fails if netfilter could have translated a packet in the namespace: if there is a NAT rule of nftables or iptables,
/// or an entry of connection tracking. The check itself loads no table, because that would enable connection tracking.
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

/// Fails if the network stack of the namespace has received a packet with a wrong checksum.
#[track_caller]
pub fn assert_no_bad_checksums(netns: &Netns) {
    let bad: BTreeMap<String, u64> = counters(netns)
        .into_iter()
        .filter(|(name, count)| *count != 0 && name.ends_with("CsumErrors"))
        .collect();
    assert!(bad.is_empty(), "{}: {bad:?}", netns.name());
}

/// The protocol counters of the namespace, with the names of `nstat`: `TcpInCsumErrors`,
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

/// All files below a directory as sorted relative paths: the pins, if it is a BPF file system.
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
