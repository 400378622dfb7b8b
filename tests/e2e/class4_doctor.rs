//! What `netpath doctor` reports about functions of the stack that redirected packets skip.

use netpath_tests::fixture::Fixture;
use serde_json::Value;

#[test]
fn class4_doctor_lists_what_redirected_packets_bypass() {
    let fixture = Fixture::new();
    let host = fixture.host();
    let finding = |name: &str| {
        let found = fixture.cli("doctor --output json").stdout;
        let found: Value = serde_json::from_str(&found).expect("findings");
        let mut found = found.as_array().expect("a list").iter();
        found
            .find(|finding| finding["name"] == name)
            .expect(name)
            .clone()
    };
    for name in ["bypassed-rules", "ipsec"] {
        assert_eq!(finding(name)["status"], "ok", "{}", finding(name));
    }
    host.exec("nft add table netdev bans");
    host.exec(
        "nft add chain netdev bans early { type filter hook ingress device eth0 priority 0; }",
    );
    host.exec("nft add rule netdev bans early ip saddr 203.0.113.1 drop");
    host.exec("nft add table inet bans");
    host.exec("nft add chain inet bans raw { type filter hook prerouting priority raw; }");
    host.exec("nft add rule inet bans raw ip saddr 203.0.113.1 drop");
    host.exec(
        "nft add chain inet bans forward { type filter hook forward priority 0; policy drop; }",
    );
    host.exec(
        "ip xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir out \
         tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel",
    );
    let rules = finding("bypassed-rules");
    assert_eq!(rules["status"], "warn", "{rules}");
    let message = rules["message"].as_str().expect("a message");
    for chain in [
        "netdev bans early (1 rule)",
        "inet bans raw (1 rule)",
        "inet bans forward (policy drop)",
    ] {
        assert!(message.contains(chain), "{message}");
    }
    assert!(
        rules["fix"]
            .as_str()
            .is_some_and(|fix| fix.contains("netpath deny add"))
    );
    let ipsec = finding("ipsec");
    assert_eq!(ipsec["status"], "warn", "{ipsec}");
    let message = ipsec["message"].as_str().expect("a message");
    assert!(
        message.contains("src 10.0.0.0/8 dst 10.1.0.0/16 dir out"),
        "{message}"
    );
}
