//! The steps of the demo. Each step returns its result as text.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Interrupt,
    diagram::{self, Addresses},
    setup::{HOST, OUTSIDE, Place, Setup},
};
use crate::command;

/// The published port, which the server listens on too.
const PORT: u16 = 6379;
/// The subnets of the network.
const SUBNETS: [&str; 2] = ["10.88.0.0/24", "fd00:88::/64"];
/// The port of the server outside.
const OUTSIDE_PORT: u16 = 7000;

/// A step.
type Step = (&'static str, fn(&Setup) -> Result<String>);

/// All steps. After the first server is started, the steps are independent of each other.
const STEPS: [Step; 14] = [
    ("the daemon runs in the host namespace", check_daemon),
    ("network_a is created", create_network),
    (
        "sandbox web runs a server and publishes its port",
        start_web,
    ),
    ("sandbox client is in the same network", create_client),
    (
        "outside reaches the published port, the server sees the client address",
        reach_from_outside,
    ),
    (
        "outside reaches the published port over IPv6",
        reach_from_outside_v6,
    ),
    (
        "the host reaches the published port at 127.0.0.1",
        reach_from_loopback,
    ),
    (
        "the host reaches the published port at ::1",
        reach_from_loopback_v6,
    ),
    (
        "a sibling reaches web at web's address, without translation",
        reach_from_sibling,
    ),
    (
        "a sibling reaches the published port at the host's address",
        reach_from_sibling_by_host,
    ),
    (
        "web reaches its own published port at the host's address",
        reach_from_itself,
    ),
    (
        "a sandbox reaches the outside, the server sees the host (SNAT)",
        reach_outside,
    ),
    ("a sandbox reaches the outside over IPv6", reach_outside_v6),
    (
        "outside cannot reach a sandbox at an unpublished port",
        check_unpublished_port,
    ),
];

/// Runs all steps, then prints the topology and the NAT table.
pub fn run_all(setup: &Setup, interrupt: &Interrupt) -> Result<()> {
    for (what, step) in STEPS {
        interrupt.check()?;
        let result = step(setup).context(what)?;
        println!("✓ {what}: {result}");
    }
    interrupt.check()?;
    print_topology(setup)?;
    print_nat_table(setup)
}

fn check_daemon(setup: &Setup) -> Result<String> {
    let status = json(&setup.netpath(&["status", "-o", "json"])?)?;
    let programs = status["programs"].as_array().map_or(0, Vec::len);
    if status["ready"] != true {
        bail!(
            "the daemon reports that it is not ready: {}",
            status["degraded"]
        );
    }
    Ok(format!("ready, {programs} programs attached"))
}

fn create_network(setup: &Setup) -> Result<String> {
    setup.netpath(&[
        "network",
        "create",
        "network_a",
        "--subnet",
        SUBNETS[0],
        "--subnet",
        SUBNETS[1],
    ])?;
    let network = json(&setup.netpath(&["network", "inspect", "network_a", "-o", "json"])?)?;
    Ok(joined(&network[0]["subnets"]))
}

fn start_web(setup: &Setup) -> Result<String> {
    let publish = format!("{PORT}:{PORT}");
    let port = PORT.to_string();
    let own = setup.own_program();
    let mut arguments = vec![
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "network_a",
        "-p",
        &publish,
        "--",
    ];
    let server = if command::find("redis-server").is_some() {
        arguments.extend([
            "redis-server",
            "--port",
            &port,
            "--protected-mode",
            "no",
            "--save",
            "",
            "--dir",
            "/tmp",
        ]);
        "redis-server"
    } else {
        arguments.extend([own.as_str(), "peer", "serve", &port]);
        "the built-in server"
    };
    setup.netpath(&arguments)?;
    let address = address(setup, "web", false)?;
    wait_for(|| setup.request(Place::Sandbox("web"), &format!("127.0.0.1:{PORT}")))
        .with_context(|| format!("{server} does not reply inside its sandbox"))?;
    Ok(format!("{server} at {address}, {PORT} → {PORT}/tcp"))
}

fn create_client(setup: &Setup) -> Result<String> {
    setup.netpath(&["sandbox", "create", "client", "--network", "network_a"])?;
    address(setup, "client", false)
}

fn reach_from_outside(setup: &Setup) -> Result<String> {
    expect_source(
        setup,
        Place::Outside,
        &socket_address(HOST.0, PORT),
        OUTSIDE.0,
    )
}

fn reach_from_outside_v6(setup: &Setup) -> Result<String> {
    expect_source(
        setup,
        Place::Outside,
        &socket_address(HOST.1, PORT),
        OUTSIDE.1,
    )
}

fn reach_from_loopback(setup: &Setup) -> Result<String> {
    expect_reply(setup, Place::Host, &socket_address("127.0.0.1", PORT))
}

fn reach_from_loopback_v6(setup: &Setup) -> Result<String> {
    expect_reply(setup, Place::Host, &socket_address("::1", PORT))
}

fn reach_from_sibling(setup: &Setup) -> Result<String> {
    let web = address(setup, "web", false)?;
    expect_source(
        setup,
        Place::Sandbox("client"),
        &socket_address(&web, PORT),
        &address(setup, "client", false)?,
    )
}

fn reach_from_sibling_by_host(setup: &Setup) -> Result<String> {
    expect_reply(
        setup,
        Place::Sandbox("client"),
        &socket_address(HOST.0, PORT),
    )
}

fn reach_from_itself(setup: &Setup) -> Result<String> {
    expect_reply(setup, Place::Sandbox("web"), &socket_address(HOST.0, PORT))
}

fn reach_outside(setup: &Setup) -> Result<String> {
    setup.start_background(Place::Outside, &["serve", &OUTSIDE_PORT.to_string()])?;
    let address = socket_address(OUTSIDE.0, OUTSIDE_PORT);
    wait_for(|| setup.request(Place::Outside, &socket_address("127.0.0.1", OUTSIDE_PORT)))
        .context("the server outside does not start")?;
    expect_source(setup, Place::Sandbox("client"), &address, HOST.0)
}

fn reach_outside_v6(setup: &Setup) -> Result<String> {
    expect_source(
        setup,
        Place::Sandbox("client"),
        &socket_address(OUTSIDE.1, OUTSIDE_PORT),
        HOST.1,
    )
}

fn check_unpublished_port(setup: &Setup) -> Result<String> {
    let web = address(setup, "web", false)?;
    match setup.request(Place::Outside, &socket_address(&web, PORT)) {
        Err(_) => Ok(format!("no reply from {web}")),
        Ok(seen) => bail!("{web} is reachable from outside, it saw {seen}"),
    }
}

/// Sends a request to the server, which must see the expected source address.
fn expect_source(setup: &Setup, place: Place<'_>, server: &str, expected: &str) -> Result<String> {
    let seen = setup.request(place, server)?;
    if seen != expected {
        bail!("{server} saw {seen}, not {expected}");
    }
    Ok(format!("{server} saw {seen}"))
}

/// Sends a request to the server; the result names the source address that the server sees.
fn expect_reply(setup: &Setup, place: Place<'_>, server: &str) -> Result<String> {
    Ok(format!(
        "{server} replied, the server saw {}",
        setup.request(place, server)?
    ))
}

/// Prints the topology with the addresses that netpath assigned.
fn print_topology(setup: &Setup) -> Result<()> {
    let addresses = |sandbox| -> Result<Addresses> {
        Ok(Addresses {
            v4: address(setup, sandbox, false)?,
            v6: address(setup, sandbox, true)?,
        })
    };
    let diagram = diagram::draw(
        &addresses("web")?,
        &addresses("client")?,
        SUBNETS,
        PORT,
        OUTSIDE_PORT,
    );
    println!("\n{diagram}");
    Ok(())
}

/// Prints the NAT table while a connection in each direction is open.
fn print_nat_table(setup: &Setup) -> Result<()> {
    setup.start_background(
        Place::Outside,
        &["request", &socket_address(HOST.0, PORT), "--hold=30"],
    )?;
    setup.start_background(
        Place::Sandbox("client"),
        &[
            "request",
            &socket_address(OUTSIDE.0, OUTSIDE_PORT),
            "--hold=30",
        ],
    )?;
    let count_flows = || {
        let flows = json(&setup.netpath(&["map", "dump", "nat", "-o", "json"])?)?;
        let flows = flows.as_array().cloned().unwrap_or_default();
        for (kind, port) in [("dnat", PORT), ("snat", OUTSIDE_PORT)] {
            let found = flows
                .iter()
                .any(|flow| flow["kind"] == kind && flow["original"]["destination_port"] == port);
            if !found {
                bail!("no {kind} flow to port {port} in the NAT table");
            }
        }
        Ok(flows.len())
    };
    let count = wait_for(count_flows)?;
    println!("✓ the NAT table lists both directions: {count} flows\n\n$ netpath map dump nat");
    println!("{}", setup.netpath(&["map", "dump", "nat"])?.trim_end());
    Ok(())
}

/// Retries for five seconds.
fn wait_for<T>(mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..49 {
        if let Ok(value) = condition() {
            return Ok(value);
        }
        thread::sleep(Duration::from_millis(100));
    }
    condition()
}

/// An address of a sandbox in `network_a`.
fn address(setup: &Setup, sandbox: &str, v6: bool) -> Result<String> {
    let shown = json(&setup.netpath(&["sandbox", "inspect", sandbox, "-o", "json"])?)?;
    let addresses = shown[0]["endpoints"][0]["addresses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut plain = addresses
        .iter()
        .filter_map(|cidr| cidr.as_str()?.split('/').next());
    let found = plain.find(|address| address.contains(':') == v6);
    found.map(str::to_owned).with_context(|| {
        format!(
            "sandbox {sandbox} has no IPv{} address",
            if v6 { 6 } else { 4 }
        )
    })
}

/// Address and port as text.
fn socket_address(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("the output of netpath is not JSON")
}

fn joined(array: &Value) -> String {
    let items = array
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(" and ")
}
