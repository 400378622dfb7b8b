//! The steps of the demo. Each step returns the measured fact.

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
const FAR: u16 = 7000;

/// A step.
type Step = (&'static str, fn(&Setup) -> Result<String>);

/// All steps. After the first server is started, the steps are independent of each other.
const STEPS: [Step; 14] = [
    ("the daemon runs in the host namespace", daemon),
    ("network_a exists", network),
    ("sandbox web runs a server and publishes its port", web),
    ("sandbox client is in the same network", client),
    (
        "outside reaches the published port, the server sees the client address",
        from_outside,
    ),
    ("outside reaches it over IPv6", from_outside_v6),
    ("the host reaches it at 127.0.0.1", from_loopback),
    ("the host reaches it at ::1", from_loopback_v6),
    (
        "a sibling reaches it at its own address, untranslated",
        from_sibling,
    ),
    (
        "a sibling reaches it at the host's address",
        from_sibling_by_host,
    ),
    ("web reaches itself at the host's address", from_itself),
    (
        "a sandbox reaches the outside, the server sees the host (SNAT)",
        outwards,
    ),
    ("a sandbox reaches the outside over IPv6", outwards_v6),
    (
        "outside cannot reach a sandbox at an unpublished port",
        shielded,
    ),
];

/// Runs all steps, then prints the topology and the NAT table.
pub fn play(setup: &Setup, interrupt: &Interrupt) -> Result<()> {
    for (what, step) in STEPS {
        interrupt.check()?;
        let fact = step(setup).context(what)?;
        println!("✓ {what}: {fact}");
    }
    interrupt.check()?;
    show_picture(setup)?;
    show_table(setup)
}

fn daemon(setup: &Setup) -> Result<String> {
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

fn network(setup: &Setup) -> Result<String> {
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
    Ok(list(&network[0]["subnets"]))
}

fn web(setup: &Setup) -> Result<String> {
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
    wait_for(|| setup.ask(Place::Sandbox("web"), &format!("127.0.0.1:{PORT}")))
        .with_context(|| format!("{server} does not answer inside its sandbox"))?;
    Ok(format!("{server} at {address}, {PORT} → {PORT}/tcp"))
}

fn client(setup: &Setup) -> Result<String> {
    setup.netpath(&["sandbox", "create", "client", "--network", "network_a"])?;
    address(setup, "client", false)
}

fn from_outside(setup: &Setup) -> Result<String> {
    expect(setup, Place::Outside, &server(HOST.0, PORT), OUTSIDE.0)
}

fn from_outside_v6(setup: &Setup) -> Result<String> {
    expect(setup, Place::Outside, &server(HOST.1, PORT), OUTSIDE.1)
}

fn from_loopback(setup: &Setup) -> Result<String> {
    reached(setup, Place::Host, &server("127.0.0.1", PORT))
}

fn from_loopback_v6(setup: &Setup) -> Result<String> {
    reached(setup, Place::Host, &server("::1", PORT))
}

fn from_sibling(setup: &Setup) -> Result<String> {
    let web = address(setup, "web", false)?;
    expect(
        setup,
        Place::Sandbox("client"),
        &server(&web, PORT),
        &address(setup, "client", false)?,
    )
}

fn from_sibling_by_host(setup: &Setup) -> Result<String> {
    reached(setup, Place::Sandbox("client"), &server(HOST.0, PORT))
}

fn from_itself(setup: &Setup) -> Result<String> {
    reached(setup, Place::Sandbox("web"), &server(HOST.0, PORT))
}

fn outwards(setup: &Setup) -> Result<String> {
    setup.keep(Place::Outside, &["serve", &FAR.to_string()])?;
    let far = server(OUTSIDE.0, FAR);
    wait_for(|| setup.ask(Place::Outside, &server("127.0.0.1", FAR)))
        .context("the server outside does not start")?;
    expect(setup, Place::Sandbox("client"), &far, HOST.0)
}

fn outwards_v6(setup: &Setup) -> Result<String> {
    expect(
        setup,
        Place::Sandbox("client"),
        &server(OUTSIDE.1, FAR),
        HOST.1,
    )
}

fn shielded(setup: &Setup) -> Result<String> {
    let web = address(setup, "web", false)?;
    match setup.ask(Place::Outside, &server(&web, PORT)) {
        Err(_) => Ok(format!("{web} does not answer there")),
        Ok(seen) => bail!("{web} answered {seen} from outside"),
    }
}

/// Asks the server, which must see the expected address.
fn expect(setup: &Setup, place: Place<'_>, server: &str, expected: &str) -> Result<String> {
    let seen = setup.ask(place, server)?;
    if seen != expected {
        bail!("{server} saw {seen}, not {expected}");
    }
    Ok(format!("{server} saw {seen}"))
}

/// Asks the server; returns the address that it sees.
fn reached(setup: &Setup, place: Place<'_>, server: &str) -> Result<String> {
    Ok(format!(
        "{server} answered, the server saw {}",
        setup.ask(place, server)?
    ))
}

/// Prints the topology with the addresses that netpath assigned.
fn show_picture(setup: &Setup) -> Result<()> {
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
        FAR,
    );
    println!("\n{diagram}");
    Ok(())
}

/// Prints the NAT table while a connection in each direction is open.
fn show_table(setup: &Setup) -> Result<()> {
    setup.keep(Place::Outside, &["ask", &server(HOST.0, PORT), "--hold=30"])?;
    setup.keep(
        Place::Sandbox("client"),
        &["ask", &server(OUTSIDE.0, FAR), "--hold=30"],
    )?;
    let both = || {
        let flows = json(&setup.netpath(&["map", "dump", "nat", "-o", "json"])?)?;
        let flows = flows.as_array().cloned().unwrap_or_default();
        for (kind, port) in [("dnat", PORT), ("snat", FAR)] {
            let found = flows
                .iter()
                .any(|flow| flow["kind"] == kind && flow["original"]["destination_port"] == port);
            if !found {
                bail!("no {kind} flow to port {port} in the NAT table");
            }
        }
        Ok(flows.len())
    };
    let count = wait_for(both)?;
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
fn server(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("the output of netpath is not JSON")
}

fn list(array: &Value) -> String {
    let items = array
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(" and ")
}
