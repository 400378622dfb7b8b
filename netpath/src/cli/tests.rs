use clap::{CommandFactory, Parser};

use super::{Cli, Command, map, network, output::Format, port, sandbox};
use crate::frontend::http::v1::{Driver, GatewayMode, MapTable};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("netpath").chain(line.split_whitespace()))
}

#[test]
fn command_tree_is_valid() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help_with_one_example() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        for below in command.get_subcommands() {
            check(below, &path);
        }
        let help = command.get_after_help().map(ToString::to_string);
        let examples = help
            .unwrap_or_default()
            .matches("Example:\n  netpath")
            .count();
        assert_eq!(examples, 1, "{path}");
        assert!(command.get_about().is_some(), "{path}");
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{path} {}",
                argument.get_id()
            );
        }
    }
    check(&Cli::command(), "");
}

#[test]
fn global_options_are_accepted_anywhere() {
    let cli = parse("network ls -o json --socket /tmp/s -v").unwrap();
    assert_eq!(cli.output, Format::Json);
    assert_eq!(cli.socket.unwrap().to_str(), Some("/tmp/s"));
    assert!(cli.verbose);
    assert!(parse("-o yaml network ls").is_err());
}

#[test]
fn network_create_accepts_every_option_of_the_contract() {
    let line = "network create backend --driver overlay --subnet 10.5.0.0/24 --subnet fd00:5::/64 \
                --gateway 10.5.0.1 --ip-range 10.5.0.128/25 --ipv6 --internal --icc off --masquerade off \
                --gateway-mode routed --mtu 1400 --vni 7 --encap auto --label a=b --label c=";
    let Command::Network(network::Command::Create(create)) = parse(line).unwrap().command else {
        panic!("another command");
    };
    let request = create.request();
    assert_eq!(request.name, "backend");
    assert_eq!(request.driver, Driver::Overlay);
    assert_eq!(request.subnets.len(), 2);
    assert_eq!(request.gateway_mode, GatewayMode::Routed);
    assert!(request.ipv6 && request.internal && !request.icc && !request.masquerade);
    assert_eq!((request.mtu, request.vni), (Some(1400), Some(7)));
    assert_eq!(request.encap.as_deref(), Some("auto"));
    assert_eq!(request.labels["a"], "b");
    assert_eq!(request.labels["c"], "");

    for bad in [
        "network create",
        "network create -- -a",
        "network create a --driver host",
        "network create a --icc maybe",
        "network create a --label x",
        "network create a --subnet 10.0.0.0",
        "network rm",
        "network connect a",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn defaults_of_networks_are_those_of_the_api() {
    let Command::Network(network::Command::Create(create)) =
        parse("network create a").unwrap().command
    else {
        panic!("another command");
    };
    assert_eq!(
        create.request(),
        crate::frontend::http::v1::NetworkCreate::named("a")
    );
}

#[test]
fn run_passes_every_word_after_the_dashes() {
    let line = "run --name web --network backend --network front -p 8080:80 --publish [::1]:53:53/udp \
                --ip 10.5.0.9 --mac 02:00:5e:00:53:01 --hostname web.local -d -- sh -c true -o --help";
    let cli = parse(line).unwrap();
    assert_eq!(cli.output, Format::Table);
    let Command::Run(arguments) = cli.command else {
        panic!("another command");
    };
    let shown = format!("{arguments:?}");
    assert!(
        shown.contains(r#"command: ["sh", "-c", "true", "-o", "--help"]"#),
        "{shown}"
    );
    let request = arguments.request();
    assert_eq!(request.name.as_deref(), Some("web"));
    assert_eq!(request.networks, ["backend", "front"]);
    assert_eq!(request.publish, ["8080:80", "[::1]:53:53/udp"]);
    assert_eq!(request.mac.as_deref(), Some("02:00:5e:00:53:01"));
    assert_eq!(request.hostname.as_deref(), Some("web.local"));
    for bad in [
        "run",
        "run --name web",
        "run --mac 1:2 -- true",
        "run --hostname -x -- true",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn sandboxes_adopt_a_path_or_a_process() {
    let Command::Sandbox(sandbox::Command::Create(create)) =
        parse("sandbox create web --pid 7 -p 80").unwrap().command
    else {
        panic!("another command");
    };
    let request = create.request();
    assert_eq!((request.pid, request.netns), (Some(7), None));
    assert_eq!(request.publish, ["80"]);
    let Command::Sandbox(sandbox::Command::Create(create)) =
        parse("sandbox create web --netns some/ns").unwrap().command
    else {
        panic!("another command");
    };
    assert!(create.request().netns.unwrap().is_absolute());
    assert!(parse("sandbox create web --pid 7 --netns /x").is_err());
    assert!(parse("sandbox exec web").is_err());
    assert!(parse("sandbox exec web -- ls -l").is_ok());
}

#[test]
fn port_specifications_are_passed_unchanged() {
    let Command::Port(port::Command::Publish {
        sandbox,
        publish,
        allow,
        force: false,
    }) = parse("port publish web 127.0.0.1:8080-8081:80-81/tcp 53/udp --allow 10.0.0.0/8")
        .unwrap()
        .command
    else {
        panic!("another command");
    };
    assert_eq!(sandbox, "web");
    assert_eq!(publish, ["127.0.0.1:8080-8081:80-81/tcp", "53/udp"]);
    assert_eq!(allow.len(), 1);
    assert!(parse("port publish web").is_err());
    assert!(parse("port ls").is_ok());
}

#[test]
fn map_dump_defaults_to_nat() {
    let dump = |line: &str| match parse(line).unwrap().command {
        Command::Map(map::Command::Dump(dump)) => dump,
        _ => panic!("another command"),
    };
    assert_eq!(dump("map dump").table(), MapTable::Nat);
    assert_eq!(
        dump("map dump counters --follow --bpf-dir /x").table(),
        MapTable::Counters
    );
    assert!(parse("map dump nat --protocol icmpv6 --address ::1 --sandbox a").is_ok());
    assert!(parse("map dump conntrack").is_err());
}

#[test]
fn daemon_flags_are_those_of_the_contract() {
    let line = "daemon --config /x --node a --run-dir /r --state-dir /s --bpf-dir /b --cgroup /c --uplink eth0 \
                --uplink eth1 --store file --underlay-address 192.0.2.1 --pool 172.20.0.0/14/24 \
                --metrics 127.0.0.1:9 --docker=/run/docker.sock --docker-mode replace --xdp off";
    assert!(parse(line).is_ok());
    assert!(parse("daemon --docker --xdp off").is_ok());
    assert!(parse("daemon --docker-mode both").is_err());
    assert!(parse("daemon --pool 172.20.0.0/14").is_err());
    assert!(parse("teardown --force --run-dir /r").is_ok());
    assert!(parse("teardown --run-dir /r").is_err());
    assert!(parse("status --wait 2.5").is_ok());
    assert!(parse("doctor").is_ok());
    assert!(parse("completions zsh").is_ok());
}
