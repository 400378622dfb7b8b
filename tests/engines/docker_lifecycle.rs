//! Starts, restarts and ends of containers, of the engine and of netpath.

use netpath_tests::{
    fixture::HOST,
    peer::{self, Request, SocketType},
};

use crate::engine::Engine;

fn tcp(address: &str, port: u16) -> [Request; 1] {
    [Request::new(SocketType::Tcp, address, port)]
}

/// Waits until nothing of a container is left.
#[track_caller]
fn wait_until_empty(engine: &Engine) {
    engine.wait("the sandboxes and ports are removed", |engine| {
        engine.netpath("sandbox ls") == serde_json::json!([]) && engine.ports().is_empty()
    });
    for map in ["ports", "endpoints"] {
        let dumped = engine.netpath(&format!("map dump {map}"));
        assert_eq!(dumped, serde_json::json!([]), "map {map}");
    }
}

#[test]
fn removed_container_leaves_nothing() {
    let engine = Engine::start();
    engine.sleeper("web", "-p 8080:80 -p 9000-9010:9000-9010/udp -p 81");
    engine.wait("the ports are published", |engine| {
        engine.ports().len() == 3
    });
    engine.docker("rm -f web");
    wait_until_empty(&engine);
    engine.assert_clean();
}

#[test]
fn restarted_container_is_published_again() {
    let engine = Engine::start();
    engine.sleeper("web", "--restart always -p 8080:80");
    engine.docker("restart -t 0 web");
    for killed in [false, true] {
        if killed {
            // The restart policy starts it again.
            let pid = engine.docker("inspect -f {{.State.Pid}} web");
            engine.sh(&format!("kill -9 {pid}")).success();
            engine.wait("the container runs again", |engine| {
                let state = "{{.State.Running}} {{.State.Pid}}";
                let state = engine.docker(&format!("inspect -f '{state}' web"));
                state.starts_with("true") && state != format!("true {pid}")
            });
        }
        let web = engine.namespace("web");
        let _server = peer::serve(&web, "web", &["80"]);
        peer::send_requests(&engine.topology.outside, &tcp(HOST.0, 8080));
    }
    engine.docker("rm -f web");
    wait_until_empty(&engine);
}

#[test]
fn engine_and_netpath_are_restarted_with_live_restore() {
    let mut engine = Engine::start_with(&["--live-restore"]);
    let web = engine.sleeper("web", "-p 8080:80");
    let _server = peer::serve(&web, "web", &["80"]);
    let outside = engine.topology.outside.clone();
    engine.kill_dockerd();
    peer::send_requests(&outside, &tcp(HOST.0, 8080));
    // dockerd binds the port again, which netpath must not refuse.
    engine.start_dockerd();
    let listening = engine.sh("ss -Hltn sport = :8080 | wc -l").success();
    assert_eq!(listening.trim(), "1");
    peer::send_requests(&outside, &tcp(HOST.0, 8080));

    engine.stop_netpath();
    peer::send_requests(&outside, &tcp(HOST.0, 8080));
    engine.sleeper("second", "-p 8081:80");
    let _second = peer::serve(&engine.namespace("second"), "second", &["80"]);
    engine.start_netpath();
    engine.wait("both ports are published", |engine| {
        engine.ports().len() == 2
    });
    peer::send_requests(&outside, &tcp(HOST.0, 8080));
    peer::send_requests(&outside, &tcp(HOST.0, 8081));

    engine.stop_netpath();
    engine.docker("rm -f web second");
    engine.start_netpath();
    wait_until_empty(&engine);
    engine.assert_clean();
}

#[test]
fn port_of_a_netpath_sandbox_is_a_conflict_that_is_reported() {
    let engine = Engine::start();
    let binary = netpath_tests::netpath_binary();
    engine
        .sh(&format!(
            "{} sandbox create own -p 8080:80",
            binary.display()
        ))
        .success();
    // netpath reserves the port of its own sandbox, so the engine cannot bind it.
    let refused = engine.sh("/usr/bin/docker run -d --name web -p 8080:80 box sleep 1000");
    assert_ne!(refused.status, Some(0));
    assert!(
        refused.stderr.contains("address already in use"),
        "{}",
        refused.stderr
    );
    engine.docker("run -d --name other -p 8081:80 box sleep 1000");
    let refused = engine.sh(&format!("{} port publish own 8081:80", binary.display()));
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("8081"), "{}", refused.stderr);
}
