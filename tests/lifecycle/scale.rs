//! The cost of a request does not grow with the number of sandboxes or ports.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use netpath_tests::fixture::Fixture;

const SANDBOXES: usize = 1000;

fn fixture() -> Fixture {
    // The default reconcile period, so that only requests are measured.
    Fixture::with_config("[limits]\nflows = 16384\nhalf_open = 4096\n")
}

/// A client with one persistent connection, as orchestrators have. Each line of `requests` is a request. The client
/// prints the seconds that each took, and exits at the first failure.
const CLIENT: &str = r#"
import http.client, json, socket, sys, time
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
connection = Unix("netpath")
for line in sys.stdin:
    method, path, body = line.rstrip("\n").split(" ", 2)
    start = time.monotonic()
    connection.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
    response = connection.getresponse()
    text = response.read()
    if response.status >= 300:
        sys.exit(f"{line[:200]} {response.status} {text[:500]}")
    print(time.monotonic() - start)
"#;

/// The time of each request.
#[track_caller]
fn ask(fixture: &Fixture, requests: &[String]) -> Vec<Duration> {
    let directory = tempfile::TempDir::new().expect("directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("write");
        path.display().to_string()
    };
    let (client, list) = (
        file("client.py", CLIENT),
        file("requests", &requests.join("\n")),
    );
    let socket = fixture.daemon.socket().display().to_string();
    let script = format!("exec python3 {client} {socket} < {list}");
    let output = fixture.topology.host.run(&["sh", "-c", &script]).success();
    let times = output.lines().map(|line| line.parse().expect("seconds"));
    let times: Vec<Duration> = times.map(Duration::from_secs_f64).collect();
    assert_eq!(times.len(), requests.len());
    times
}

/// CPU time of the daemon since its start, in steps of 10 ms. Unlike the time of a request it hardly depends on what else the
/// machine does.
#[track_caller]
fn cpu_time(fixture: &mut Fixture) -> Duration {
    let pid = fixture.daemon.process().pid();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    // The name of the program may contain spaces.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks
        .map(|ticks| ticks.parse::<u64>().expect("ticks"))
        .sum();
    Duration::from_millis(10 * ticks)
}

/// Sends the requests. Fails if the last hundred take the daemon twice as much CPU time as the first.
#[track_caller]
fn assert_flat(what: &str, fixture: &mut Fixture, requests: &[String]) {
    let mut cost = |requests: &[String]| {
        let before = cpu_time(fixture);
        let times = ask(fixture, requests);
        (cpu_time(fixture) - before, times.iter().sum::<Duration>())
    };
    let (first, others) = requests.split_at(100);
    let (others, last) = others.split_at(others.len() - 100);
    let (first, _) = cost(first);
    let (_, time) = cost(others);
    let (last, _) = cost(last);
    println!(
        "{what}: {:.1?} each; CPU time of the first hundred {first:?}, of the last hundred {last:?}",
        time / u32::try_from(others.len()).expect("few")
    );
    assert!(last < first * 2, "{what} grows from {first:?} to {last:?}");
}

#[test]
fn cost_of_a_sandbox_is_independent_of_their_number() {
    let mut fixture = fixture();
    let subnet = fixture.json("network inspect bridge")[0]["subnets"].clone();
    assert!(subnet.to_string().contains("/16"), "{subnet}");
    let create = |index: usize| {
        let port = 10_000 + index;
        let body = json!({"name": format!("s{index}"), "networks": ["bridge"], "publish": [format!("{port}:80")]});
        format!("POST /v1/sandboxes {body}")
    };
    let requests: Vec<_> = (0..SANDBOXES).map(create).collect();
    assert_flat("creating sandboxes", &mut fixture, &requests);
    let start = Instant::now();
    assert_eq!(fixture.sandboxes().len(), SANDBOXES);
    println!("sandbox ls of {SANDBOXES}: {:?}", start.elapsed());
    for name in ["s0", "s999"] {
        fixture.serve_echo(name);
    }
    fixture.assert_published(10_000, "s0");
    fixture.assert_published(10_999, "s999");
    let start = Instant::now();
    let status = fixture.status();
    println!(
        "status: {:?}, last reconcile {}",
        start.elapsed(),
        status["last_reconcile"]
    );
    assert_eq!(status["ready"], true, "{status}");

    // A bridge has 1023 ports: the next sandbox is refused and nothing of it remains.
    let more: Vec<_> = (SANDBOXES..1023).map(create).collect();
    ask(&fixture, &more);
    let line = fixture.cli("sandbox create toomany").failure(1);
    assert!(line.contains("1023") && line.lines().count() == 1, "{line}");
    assert_eq!(fixture.devices().len(), 1024);
    assert_eq!(fixture.sandboxes().len(), 1023);
    for index in SANDBOXES..1023 {
        fixture.cli_ok(&format!("sandbox rm s{index}"));
    }

    let remove = |index: usize| format!("DELETE /v1/sandboxes/s{index} ");
    // The daemon restarts with all sandboxes.
    let start = Instant::now();
    fixture.daemon.restart();
    println!("restart with {SANDBOXES}: {:?}", start.elapsed());
    fixture.assert_published(10_999, "s999");
    let requests: Vec<_> = (0..SANDBOXES).map(remove).collect();
    assert_flat("removing sandboxes", &mut fixture, &requests);
    assert_eq!(fixture.sandboxes(), [""; 0]);
    assert_eq!(fixture.devices().len(), 1);
}

#[test]
fn serial_cost_of_a_port_is_independent_of_their_number() {
    let fixture = fixture();
    fixture.echo_sandbox("web", "");
    let mut each = Vec::new();
    for count in [100_u32, 1_000, 10_000] {
        let specs: Vec<String> = (0..count)
            .map(|index| format!("{}:80", 20_000 + index))
            .collect();
        let body = json!({"sandbox": "web", "publish": specs});
        let published = ask(&fixture, &[format!("POST /v1/ports {body}")])[0];
        let listed = fixture.json("port ls");
        assert_eq!(listed.as_array().map(Vec::len), usize::try_from(count).ok());
        fixture.assert_published(20_000, "web");
        fixture.assert_published(u16::try_from(20_000 + count - 1).expect("port"), "web");
        // One further port.
        let beside = Instant::now();
        fixture.cli_ok("port publish web 19999:80");
        let beside = beside.elapsed();
        fixture.cli_ok("port unpublish web 19999:80");
        let removed = ask(&fixture, &[format!("DELETE /v1/ports {body}")])[0];
        assert_eq!(fixture.json("port ls"), Value::Array(Vec::new()));
        let per = |total: Duration| total / count;
        println!(
            "{count} ports: publish {published:.1?}, {:.1?} each; unpublish {removed:.1?}, {:.1?} each; one more {beside:.1?}",
            per(published),
            per(removed)
        );
        each.push((per(published), per(removed)));
    }
    let (hundred, thousand, most) = (each[0], each[1], each[2]);
    let floor = Duration::from_micros(50);
    for (what, few, many) in [
        ("publishing", hundred.0.max(thousand.0), most.0),
        ("withdrawing", hundred.1.max(thousand.1), most.1),
    ] {
        assert!(
            many < (few * 2).max(floor),
            "{what} a port grows from {few:?} to {many:?}"
        );
    }
}

#[test]
fn serial_range_of_ten_thousand_ports_is_one_entry() {
    let fixture = fixture();
    fixture.echo_sandbox("web", "");
    let start = Instant::now();
    fixture.cli_ok("port publish web 20000-29999:10000-19999");
    println!("a range of 10,000: {:?}", start.elapsed());
    assert_eq!(
        fixture.json("map dump ports").as_array().map(Vec::len),
        Some(1)
    );
    fixture.cli_ok("port unpublish web 20000-29999:10000-19999");
    assert_eq!(fixture.json("map dump ports"), json!([]));
}
