use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Settings, ConfigError> {
    file::parse(Path::new("netpath.toml"), text)
}

fn config(text: &str) -> Result<Config, ConfigError> {
    Config::resolve(parse(text)?, None)
}

fn message(text: &str) -> String {
    config(text).unwrap_err().to_string()
}

#[test]
fn empty_configuration_has_documented_defaults() {
    let config = config("").unwrap();
    assert_eq!(config.run_dir, Path::new("/run/netpath"));
    assert_eq!(config.state_dir, Path::new("/var/lib/netpath"));
    assert_eq!(config.bpf_dir, Path::new("/sys/fs/bpf/netpath"));
    assert_eq!(config.socket, Path::new(DEFAULT_SOCKET));
    assert_eq!(config.store, StoreKind::File);
    assert_eq!(config.timers, Timers::DEFAULT);
    let memory = nix::sys::sysinfo::sysinfo().unwrap().ram_total();
    assert_eq!(config.limits, Limits::for_memory(memory));
    assert_eq!(config.pools[0].to_string(), "172.17.0.0/16/16");
    assert!(config.pools.iter().any(|pool| pool.prefix.addr().is_ipv6()));
}

#[test]
fn flags_override_the_file() {
    let flags = Settings {
        node: Some("flag".to_owned()),
        uplink: vec!["eth1".to_owned()],
        ..Settings::default()
    };
    let file =
        parse("node = 'file'\nuplink = 'eth0'\nrun-dir = '/tmp/a'\nstate_dir = '/tmp/b'").unwrap();
    let config = Config::resolve(flags.or(file), None).unwrap();
    assert_eq!(config.node.as_str(), "flag");
    assert_eq!(config.uplinks, ["eth1"]);
    assert_eq!(config.run_dir, Path::new("/tmp/a"));
    assert_eq!(config.socket, Path::new("/tmp/a/netpath.sock"));
    assert_eq!(config.state_dir, Path::new("/tmp/b"));
}

#[test]
fn explicit_socket_is_used() {
    let config = Config::resolve(Settings::default(), Some("/tmp/x.sock".into())).unwrap();
    assert_eq!(config.socket, Path::new("/tmp/x.sock"));
}

#[test]
fn unknown_keys_are_errors_with_line_and_column() {
    let error = message("node = 'a'\n\n  colour = 'red'\n");
    assert!(
        error.starts_with("netpath.toml:3:3: unknown field `colour`"),
        "{error}"
    );
    let error = message("[timers]\ntcp_forever = 1\n");
    assert!(
        error.starts_with("netpath.toml:2:1: unknown field `tcp_forever`"),
        "{error}"
    );
}

#[test]
fn wrong_types_and_syntax_are_errors_with_line_and_column() {
    let error = message("\nnode = 3\n");
    assert!(error.starts_with("netpath.toml:2:8: "), "{error}");
    let error = message("node = 'a\n");
    assert!(error.starts_with("netpath.toml:1:"), "{error}");
    let error = message("pool = ['10.0.0.0/8/24', '10.0.0.0/99/24']\n");
    assert!(error.starts_with("netpath.toml:1:"), "{error}");
    assert!(
        error.contains("'10.0.0.0/99/24' is not a pool: "),
        "{error}"
    );
    assert!(error.contains("is not a CIDR"), "{error}");
}

#[test]
fn timers_are_seconds_and_may_be_fractional() {
    let config = config("[timers]\nudp_new = 0.25\nicmp = 3\n").unwrap();
    assert_eq!(config.timers.udp_new, 250_000_000);
    assert_eq!(config.timers.icmp, 3_000_000_000);
    assert_eq!(config.timers.other, Timers::DEFAULT.other);
    for bad in ["0", "-1", "nan", "inf", "1e12"] {
        let error = message(&format!("[timers]\nicmp = {bad}\n"));
        assert!(error.starts_with("timers.icmp: "), "{error}");
    }
}

#[test]
fn invalid_limit_is_refused() {
    let good = config("[limits]\nflows = 1000\nhalf_open = 256\n").unwrap();
    assert_eq!(
        (good.limits.flows, good.limits.half_open),
        (1000, Some(256))
    );
    assert!(message("[limits]\nflows = 0\n").starts_with("limits.flows: "));
    assert!(message("[limits]\nhalf_open = 1000\n").contains("power of two"));
    let good = config("[limits]\nflows = 1000\nflows_per_sandbox = 1000\n").unwrap();
    assert_eq!(good.limits.flows_per_sandbox, Some(1000));
    for bad in [0, 1001] {
        let error = message(&format!(
            "[limits]\nflows = 1000\nflows_per_sandbox = {bad}\n"
        ));
        assert_eq!(
            error,
            format!("limits.flows_per_sandbox: {bad} is not between 1 and limits.flows (1000)")
        );
    }
}

#[test]
fn pool_is_a_prefix_and_a_subnet_length() {
    let config = config("pool = ['172.20.0.0/14/24', 'fd00:1::/48/64']").unwrap();
    assert_eq!(config.pools[0].bits, 24);
    assert_eq!(config.pools[1].to_string(), "fd00:1::/48/64");
    for bad in [
        "172.20.0.0/14",
        "172.20.0.0/14/8",
        "172.20.0.1/14/24",
        "x/14/24",
        "10.0.0.0/8/31",
    ] {
        assert!(bad.parse::<Pool>().is_err(), "{bad}");
    }
    assert_eq!(
        message("pool = ['10.0.0.0/8/24', '10.1.0.0/16/24']"),
        "pool: 10.1.0.0/16/24 and 10.0.0.0/8/24 overlap"
    );
}

#[test]
fn default_ipv6_pool_depends_on_the_node_only() {
    let v6 = |node| pool::defaults(node, false).pop().unwrap();
    assert_eq!(v6("a"), v6("a"));
    assert_ne!(v6("a"), v6("b"));
    assert_eq!(v6("a").prefix.to_string().get(..2), Some("fd"));
}

#[test]
fn unsupported_setting_is_refused() {
    let text = "metrics = '127.0.0.1:9000'";
    assert!(message(text).ends_with("not supported yet"), "{text}");
    assert!(config("xdp = 'native'\nstore = 'file'").is_ok());
}

#[test]
fn store_is_resolved() {
    let text = "store = 'etcd://10.0.0.1:2379,[fd00::1]:2379'\nstore_ca = 'ca'\nstore_token = 't'";
    let StoreKind::Etcd(settings) = config(text).unwrap().store else {
        panic!("etcd");
    };
    let servers: Vec<_> = settings.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.1:2379", "[fd00::1]:2379"]);
    assert_eq!(settings.servers[1].host, "fd00::1");
    assert_eq!(settings.ca.as_deref(), Some(Path::new("ca")));
    assert_eq!(settings.token.as_deref(), Some(Path::new("t")));
    let consul = config("store = 'consul://consul.example.org:8500'").unwrap();
    assert!(matches!(consul.store, StoreKind::Consul(_)));
}

#[test]
fn invalid_store_is_refused() {
    for (text, reason) in [
        ("store = 'etcd://nowhere'", "is not HOST:PORT"),
        ("store = 'etcd://'", "is not HOST:PORT"),
        ("store = 'etcd://a:1,'", "is not HOST:PORT"),
        ("store = 'etcd://a:0'", "is not HOST:PORT"),
        ("store = 'etcd://a:99999'", "is not HOST:PORT"),
        ("store = 'etcd://fd00::1:2379'", "is not HOST:PORT"),
        ("store = 'etcd://[nothing]:2379'", "is not HOST:PORT"),
        ("store = 'consul://a b:1'", "is not HOST:PORT"),
        ("store = 'redis'", "is none of"),
        ("store = 'redis://a:1'", "is none of"),
        ("store = 'etcd:a:1'", "is none of"),
        (
            "store_ca = 'a'",
            "store_ca: the store 'file' does not use it",
        ),
        (
            "store = 'file'\nstore_token = 'a'",
            "store_token: the store 'file'",
        ),
        ("store = 'etcd://a:1'\nstore_key = 'a'", "belong together"),
        (
            "store = 'etcd://a:1'\nstore_key = 'a'\nstore_cert = 'b'",
            "with store_ca only",
        ),
    ] {
        assert!(message(text).contains(reason), "{text}: {}", message(text));
    }
}

#[test]
fn docker_is_a_boolean_or_an_absolute_path() {
    let socket = |text: &str| config(text).unwrap().docker;
    assert_eq!(socket(""), None);
    assert_eq!(socket("docker = false"), None);
    assert_eq!(socket("docker = true"), Some(DEFAULT_DOCKER_SOCKET.into()));
    assert_eq!(
        socket("docker = '/run/d.sock'\ndocker_mode = 'replace'"),
        Some("/run/d.sock".into())
    );
    assert_eq!(
        message("docker = 'd.sock'"),
        "docker: 'd.sock' is not an absolute path of a socket"
    );
    assert!(message("docker = 1").contains("true, false or the path of a socket"));
    let error = message("docker = true\ndocker_mode = 'beside'");
    assert!(error.contains("docker_mode beside"), "{error}");
}

#[test]
fn default_network_of_docker_is_left_to_it() {
    let first = |text: &str| config(text).unwrap().pools[0].to_string();
    assert_eq!(first(""), "172.17.0.0/16/16");
    assert_eq!(first("docker = true"), "172.18.0.0/15/16");
    assert_eq!(
        first("docker = true\npool = ['10.0.0.0/8/24']"),
        "10.0.0.0/8/24"
    );
}

const SAMPLE: &str = include_str!("../../packaging/netpath.toml");

#[test]
fn sample_file_parses_to_defaults() {
    assert_eq!(parse(SAMPLE).unwrap(), Settings::default());
}

#[test]
fn sample_file_shows_every_key() {
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| {
            line.strip_prefix("#")
                .filter(|rest| !rest.starts_with([' ', '#']))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let settings = parse(&uncommented).unwrap();
    let shown = format!("{settings:?}");
    let unset = shown.matches("None").count();
    // Only `config` itself is not a key.
    assert_eq!(unset, 1, "{shown}");
    assert!(!settings.uplink.is_empty() && !settings.pool.is_empty());
}
