//! Traffic while the daemon is down, and takeover when it starts.

use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use netpath_tests::{
    Transport,
    fixture::{EchoClient, Fixture, HOST_V4, OUTSIDE_V4, link_ids, serve_echo},
    pin_names,
};

struct Traffic {
    lines: Vec<EchoClient>,
}

impl Traffic {
    /// Creates the sandboxes `web`, which is published, and `client`, and opens a connection of every kind.
    fn start(fixture: &Fixture) -> Self {
        fixture.echo_sandbox("web", "-p 8080:80");
        fixture.cli_ok("sandbox create client");
        serve_echo(fixture.outside(), 7000, "outside");
        Self {
            lines: Self::new_lines(fixture),
        }
    }

    #[track_caller]
    fn new_lines(fixture: &Fixture) -> Vec<EchoClient> {
        let outside = format!("{OUTSIDE_V4}:7000");
        let published = format!("{HOST_V4}:8080");
        let lines = [
            fixture.connect_from_outside(8080).expect("published port"),
            fixture
                .connect_from_sandbox("client", &outside)
                .expect("SNAT"),
            fixture
                .connect_from_sandbox("client", &published)
                .expect("sibling"),
        ];
        let greetings = lines.each_ref().map(|line| line.server.as_str());
        assert_eq!(greetings, ["web", "outside", "web"]);
        let host = fixture.query_from_host("127.0.0.1", 8080);
        assert_eq!(host.as_deref(), Ok("web"), "host's loopback");
        lines.into()
    }

    #[track_caller]
    fn exchange_lines(&mut self) {
        self.lines.iter_mut().for_each(EchoClient::exchange_line);
    }
}

/// Identifiers of links and programs by pin.
fn programs(fixture: &Fixture) -> BTreeMap<PathBuf, (u64, u64)> {
    let links = fixture.daemon.bpf_dir().join("links");
    let pins = pin_names(&links).into_iter();
    pins.map(|pin| (pin.clone(), link_ids(fixture.host(), &links.join(pin))))
        .collect()
}

/// Removes the pins of loaded programs, as if they were those of another object. The attached programs stay.
fn remove_loaded_programs(fixture: &Fixture) {
    let entries = fs::read_dir(fixture.daemon.bpf_dir()).expect("pins");
    let directories: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.display().to_string().contains("/programs-"))
        .collect();
    assert_eq!(directories.len(), 1, "{directories:?}");
    for directory in directories {
        for pin in fs::read_dir(&directory).expect("programs").flatten() {
            fs::remove_file(pin.path()).expect("remove");
        }
    }
}

/// What a restarted daemon does with the programs.
#[derive(Clone, Copy, PartialEq)]
enum Programs {
    Kept,
    Replaced,
}

fn assert_takeover(programs_then: Programs, end: impl FnOnce(&mut Fixture)) {
    let mut fixture = Fixture::with_fast_reconcile();
    let mut traffic = Traffic::start(&fixture);
    let netns = fixture.inspect("client").netns;
    let (shown, before) = (fixture.lists(), programs(&fixture));
    traffic.exchange_lines();

    end(&mut fixture);
    traffic.exchange_lines();
    let outside = fixture.connect_from_outside(8080).expect("published port");
    assert_eq!(outside.server, "web");
    assert_eq!(
        fixture.query_from_host("127.0.0.1", 8080).as_deref(),
        Ok("web"),
        "host's loopback without a daemon"
    );
    let snat = netns.enter(|| EchoClient::connect(&format!("{OUTSIDE_V4}:7000")));
    assert_eq!(snat.expect("SNAT").server, "outside");

    fixture.daemon.restart();
    traffic.exchange_lines();
    Traffic::new_lines(&fixture);
    assert_eq!(fixture.lists(), shown);
    let after = programs(&fixture);
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (pin, (link, program)) in &after {
        let (old_link, old_program) = before[pin];
        assert_eq!(*link, old_link, "the link of {} stays", pin.display());
        let kept = *program == old_program;
        assert_eq!(
            kept,
            programs_then == Programs::Kept,
            "the program of {}",
            pin.display()
        );
    }
    traffic.exchange_lines();
    fixture.topology.assert_clean();
}

#[test]
fn traffic_continues_while_a_killed_daemon_is_down_and_after_its_restart() {
    assert_takeover(Programs::Kept, |fixture| fixture.daemon.kill9());
}

#[test]
fn traffic_continues_while_a_stopped_daemon_is_down_and_after_its_restart() {
    assert_takeover(Programs::Kept, |fixture| fixture.daemon.stop());
}

#[test]
fn traffic_continues_while_the_programs_are_replaced() {
    assert_takeover(Programs::Replaced, |fixture| {
        fixture.daemon.stop();
        remove_loaded_programs(fixture);
    });
}

#[test]
fn event_reader_does_not_delay_the_stop() {
    let mut fixture = Fixture::with_fast_reconcile();
    let mut events = fixture.events();
    let start = Instant::now();
    fixture.daemon.stop();
    assert!(start.elapsed() < Duration::from_secs(3));
    events.wait(Duration::from_secs(3));
    fixture.daemon.restart();
}

fn descriptors(fixture: &mut Fixture) -> usize {
    let pid = fixture.daemon.process().pid();
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
    files.count()
}

/// `NETPATH_KILL_SECONDS` sets the duration.
#[test]
fn serial_kills_every_second_lose_no_connection_and_leak_nothing() {
    let seconds: u64 = env::var("NETPATH_KILL_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10);
    let mut fixture = Fixture::with_fast_reconcile();
    fixture.cli_ok("sandbox create iperf -p 5201:5201");
    fixture.cli_ok("sandbox create redis -p 6379:6379");
    let mut traffic = Traffic::start(&fixture);
    let mut iperf = fixture
        .daemon
        .spawn(&["sandbox", "exec", "iperf", "--", "iperf3", "-s"]);
    iperf.wait_for_port(&fixture.inspect("iperf").netns, Transport::Tcp, 5201);
    let mut redis = fixture.daemon.spawn(&[
        "sandbox",
        "exec",
        "redis",
        "--",
        "redis-server",
        "--protected-mode",
        "no",
        "--save",
        "",
    ]);
    redis.wait_for_output("Ready to accept");
    let outside = fixture.topology.outside.clone();
    let (stream_seconds, rounds) = (seconds.to_string(), 100 * (seconds + 60));
    let mut stream = outside.start(&["iperf3", "-c", HOST_V4, "-t", &stream_seconds, "-b", "500M"]);
    // Alternating persistent and short connections, for more rounds than the test has time for.
    let mut requests = outside.start(&[
        "sh",
        "-c",
        &format!(
            "for round in $(seq {rounds}); do redis-benchmark -h {HOST_V4} -n 2000 -c 8 -t set,get -q \
             >/dev/null || exit 1; redis-benchmark -h {HOST_V4} -n 500 -c 4 -k 0 -t get -q || exit 1; done"
        ),
    ]);
    let (shown, before) = (fixture.lists(), programs(&fixture));
    let (devices, pins) = (fixture.devices(), pin_names(&fixture.daemon.bpf_dir()));
    let open = descriptors(&mut fixture);

    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        let next = Instant::now() + Duration::from_secs(1);
        fixture.daemon.kill9();
        kills += 1;
        traffic.exchange_lines();
        fixture.daemon.restart();
        traffic.exchange_lines();
        assert!(
            requests.ended().is_none(),
            "a request failed: {}",
            requests.output()
        );
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    assert_eq!(
        stream.wait(Duration::from_secs(30)),
        Some(0),
        "{}",
        stream.output()
    );
    assert!(requests.ended().is_none(), "{}", requests.output());
    println!(
        "{kills} kills in {:?}\n{}",
        began.elapsed(),
        stream.output()
    );
    drop(requests);
    traffic.exchange_lines();
    Traffic::new_lines(&fixture);

    assert_eq!(fixture.lists(), shown);
    assert_eq!(fixture.devices(), devices);
    assert_eq!(pin_names(&fixture.daemon.bpf_dir()), pins);
    let after = programs(&fixture);
    for (pin, (link, _)) in &before {
        assert_eq!(after[pin].0, *link, "the link of {}", pin.display());
    }
    let now = descriptors(&mut fixture);
    assert!(now <= open + 4, "{now} descriptors, {open} before");
    assert!(fixture.topology.outside.listens(Transport::Tcp, 7000));
}
