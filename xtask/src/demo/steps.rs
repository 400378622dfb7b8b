//! What the demo shows, one step after the other. Each step returns the fact it measured.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Interrupt,
    picture::{self, Addresses},
    scene::{HOST, OUTSIDE, Place, Scene},
};
use crate::command;

/// The port that the server publishes, and that it listens on.
const PORT: u16 = 6379;
/// The subnets of the network.
const SUBNETS: [&str; 2] = ["10.88.0.0/24", "fd00:88::/64"];
/// The port of the server outside.
const FAR: u16 = 7000;

/// What a step does, and how it is done.
type Step = (&'static str, fn(&Scene) -> Result<String>);

/// All steps. From the second server on they only need what the ones before set up.
const STEPS: [Step; 14] = [
    ("the daemon runs in the host namespace", daemon),
    ("network shop exists", network),
    ("sandbox web runs a server and publishes its port", web),
    ("sandbox client is beside it", client),
    (
        "outside reaches the published port, the server sees the true client",
        from_outside,
    ),
    ("outside reaches it over IPv6 too", from_outside_v6),
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
        "a sandbox goes out, the server outside sees the host (SNAT)",
        outwards,
    ),
    ("a sandbox goes out over IPv6 too", outwards_v6),
    (
        "outside cannot reach a sandbox past its published ports",
        shielded,
    ),
];

/// Plays all steps, then shows the topology and the NAT table.
pub fn play(scene: &Scene, interrupt: &Interrupt) -> Result<()> {
    for (what, step) in STEPS {
        interrupt.check()?;
        let fact = step(scene).context(what)?;
        println!("✓ {what}: {fact}");
    }
    interrupt.check()?;
    show_picture(scene)?;
    show_table(scene)
}

fn daemon(scene: &Scene) -> Result<String> {
    let status = json(&scene.netpath(&["status", "-o", "json"])?)?;
    let programs = status["programs"].as_array().map_or(0, Vec::len);
    if status["ready"] != true {
        bail!(
            "the daemon says that it is not ready: {}",
            status["degraded"]
        );
    }
    Ok(format!("ready, {programs} programs attached"))
}

fn network(scene: &Scene) -> Result<String> {
    scene.netpath(&[
        "network", "create", "shop", "--subnet", SUBNETS[0], "--subnet", SUBNETS[1],
    ])?;
    let network = json(&scene.netpath(&["network", "inspect", "shop", "-o", "json"])?)?;
    Ok(list(&network[0]["subnets"]))
}

fn web(scene: &Scene) -> Result<String> {
    let publish = format!("{PORT}:{PORT}");
    let port = PORT.to_string();
    let own = scene.own_program();
    let mut arguments = vec![
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "shop",
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
    scene.netpath(&arguments)?;
    let address = address(scene, "web", false)?;
    wait_for(|| scene.ask(Place::Sandbox("web"), &format!("127.0.0.1:{PORT}")))
        .with_context(|| format!("{server} does not answer inside its sandbox"))?;
    Ok(format!("{server} at {address}, {PORT} → {PORT}/tcp"))
}

fn client(scene: &Scene) -> Result<String> {
    scene.netpath(&["sandbox", "create", "client", "--network", "shop"])?;
    address(scene, "client", false)
}

fn from_outside(scene: &Scene) -> Result<String> {
    expect(scene, Place::Outside, &server(HOST.0, PORT), OUTSIDE.0)
}

fn from_outside_v6(scene: &Scene) -> Result<String> {
    expect(scene, Place::Outside, &server(HOST.1, PORT), OUTSIDE.1)
}

fn from_loopback(scene: &Scene) -> Result<String> {
    reached(scene, Place::Host, &server("127.0.0.1", PORT))
}

fn from_loopback_v6(scene: &Scene) -> Result<String> {
    reached(scene, Place::Host, &server("::1", PORT))
}

fn from_sibling(scene: &Scene) -> Result<String> {
    let web = address(scene, "web", false)?;
    expect(
        scene,
        Place::Sandbox("client"),
        &server(&web, PORT),
        &address(scene, "client", false)?,
    )
}

fn from_sibling_by_host(scene: &Scene) -> Result<String> {
    reached(scene, Place::Sandbox("client"), &server(HOST.0, PORT))
}

fn from_itself(scene: &Scene) -> Result<String> {
    reached(scene, Place::Sandbox("web"), &server(HOST.0, PORT))
}

fn outwards(scene: &Scene) -> Result<String> {
    scene.keep(Place::Outside, &["serve", &FAR.to_string()])?;
    let far = server(OUTSIDE.0, FAR);
    wait_for(|| scene.ask(Place::Outside, &server("127.0.0.1", FAR)))
        .context("the server outside does not start")?;
    expect(scene, Place::Sandbox("client"), &far, HOST.0)
}

fn outwards_v6(scene: &Scene) -> Result<String> {
    expect(
        scene,
        Place::Sandbox("client"),
        &server(OUTSIDE.1, FAR),
        HOST.1,
    )
}

fn shielded(scene: &Scene) -> Result<String> {
    let web = address(scene, "web", false)?;
    match scene.ask(Place::Outside, &server(&web, PORT)) {
        Err(_) => Ok(format!("{web} does not answer there")),
        Ok(seen) => bail!("{web} answered {seen} from outside"),
    }
}

/// Asks the server and requires the address that it saw.
fn expect(scene: &Scene, place: Place<'_>, server: &str, expected: &str) -> Result<String> {
    let seen = scene.ask(place, server)?;
    if seen != expected {
        bail!("{server} saw {seen}, not {expected}");
    }
    Ok(format!("{server} saw {seen}"))
}

/// Asks the server; whatever address it saw is a fact to show.
fn reached(scene: &Scene, place: Place<'_>, server: &str) -> Result<String> {
    Ok(format!(
        "{server} answered, the server saw {}",
        scene.ask(place, server)?
    ))
}

/// Draws who is connected to whom, with the addresses that netpath gave.
fn show_picture(scene: &Scene) -> Result<()> {
    let addresses = |sandbox| -> Result<Addresses> {
        Ok(Addresses {
            v4: address(scene, sandbox, false)?,
            v6: address(scene, sandbox, true)?,
        })
    };
    let picture = picture::draw(
        &addresses("web")?,
        &addresses("client")?,
        SUBNETS,
        PORT,
        FAR,
    );
    println!("\n{picture}");
    Ok(())
}

/// Shows the NAT table while a connection is open in each direction.
fn show_table(scene: &Scene) -> Result<()> {
    scene.keep(Place::Outside, &["ask", &server(HOST.0, PORT), "--hold=30"])?;
    scene.keep(
        Place::Sandbox("client"),
        &["ask", &server(OUTSIDE.0, FAR), "--hold=30"],
    )?;
    let both = || {
        let flows = json(&scene.netpath(&["map", "dump", "nat", "-o", "json"])?)?;
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
    println!("{}", scene.netpath(&["map", "dump", "nat"])?.trim_end());
    Ok(())
}

/// Tries for five seconds.
fn wait_for<T>(mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..49 {
        if let Ok(value) = condition() {
            return Ok(value);
        }
        thread::sleep(Duration::from_millis(100));
    }
    condition()
}

/// An address of a sandbox in the network shop.
fn address(scene: &Scene, sandbox: &str, v6: bool) -> Result<String> {
    let shown = json(&scene.netpath(&["sandbox", "inspect", sandbox, "-o", "json"])?)?;
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

/// Address and port as one writes them.
fn server(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("netpath printed no JSON")
}

fn list(array: &Value) -> String {
    let items = array
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(" and ")
}
