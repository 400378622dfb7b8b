//! A web server behind a published port, under load.

use std::fs;

use netpath_tests::{
    Netns, Process, Transport,
    fixture::{Fixture, HOST, LOOPBACK, NETWORK_A, OUTSIDE, Sandbox},
};
use tempfile::TempDir;

/// A running nginx that answers every request with one line.
struct Nginx {
    _process: Process,
    _directory: TempDir,
}

#[track_caller]
fn nginx(netns: &Netns) -> Nginx {
    let directory = TempDir::with_prefix("npt-nginx-").expect("directory");
    let path = directory.path().display();
    let file = directory.path().join("nginx.conf");
    let settings = format!(
        "daemon off; worker_processes 2; pid {path}/pid; error_log {path}/error;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; keepalive_requests 1000000;
           client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;
           uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;
           server {{
             listen 80 backlog=4096; listen [::]:80 backlog=4096;
             location / {{ return 200 hello; }}
           }}
         }}"
    );
    fs::write(&file, settings).expect("settings");
    let file = file.to_string_lossy().into_owned();
    let mut process = netns.start(&["nginx", "-c", &file, "-e", &format!("{path}/error")]);
    process.wait_for_port(netns, Transport::Tcp, 80);
    Nginx {
        _process: process,
        _directory: directory,
    }
}

/// Runs wrk; returns the number of answered requests. Any error fails the test.
#[track_caller]
fn wrk(from: &Netns, url: &str, connections: u32, keep_alive: bool) -> u64 {
    let connections = connections.to_string();
    let mut command = vec![
        "wrk",
        "-t",
        "2",
        "-c",
        &connections,
        "-d",
        "2",
        "--timeout",
        "5",
    ];
    if !keep_alive {
        command.extend(["-H", "Connection: close"]);
    }
    command.push(url);
    let text = from.run(&command).success();
    for word in ["Socket errors", "Non-2xx", "unable to connect"] {
        assert!(!text.contains(word), "{command:?}:\n{text}");
    }
    let requests = text
        .lines()
        .find_map(|line| line.split_once(" requests in"));
    let requests = requests.map(|(count, _)| count.trim().parse());
    let requests = requests.expect("a number of requests").expect("a number");
    assert_ne!(requests, 0, "{command:?}:\n{text}");
    requests
}

/// The number of source ports. A client that closes first keeps its port in TIME_WAIT for a minute, independently of
/// netpath.
fn limit_ports(client: &Netns) {
    client.sysctl("net/ipv4/ip_local_port_range", "50000 50199");
    client.sysctl("net/ipv4/tcp_max_tw_buckets", "0");
}

fn url(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("http://[{address}]:{port}/")
    } else {
        format!("http://{address}:{port}/")
    }
}

fn site() -> (Fixture, Sandbox) {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let site = fixture.sandbox("site", "network_a", &["8080:80"]);
    (fixture, site)
}

#[test]
fn load_from_outside_has_no_error() {
    let (fixture, site) = site();
    let _nginx = nginx(&site.netns);
    for keep_alive in [true, false] {
        for address in [HOST.0, HOST.1] {
            wrk(fixture.outside(), &url(address, 8080), 500, keep_alive);
        }
    }
    fixture.assert_clean(&[&site]);
}

#[test]
fn load_from_host_loopback_has_no_error() {
    let (fixture, site) = site();
    let _nginx = nginx(&site.netns);
    for keep_alive in [true, false] {
        for address in [LOOPBACK.0, LOOPBACK.1] {
            wrk(fixture.host(), &url(address, 8080), 500, keep_alive);
        }
    }
    fixture.assert_clean(&[&site]);
}

#[test]
fn outside_client_reuses_200_source_ports_without_error() {
    let (fixture, site) = site();
    let _nginx = nginx(&site.netns);
    let outside = fixture.outside();
    limit_ports(outside);
    for address in [HOST.0, HOST.1] {
        let requests = wrk(outside, &url(address, 8080), 20, false);
        assert!(requests > 400, "no port was reused: {requests}");
    }
    fixture.assert_clean(&[&site]);
}

#[test]
fn sandbox_client_reuses_200_source_ports_without_error() {
    let (fixture, site) = site();
    let _nginx = nginx(fixture.outside());
    let netns = &site.netns;
    limit_ports(netns);
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let requests = wrk(netns, &url(address, 80), 20, false);
        assert!(requests > 400, "no port was reused: {requests}");
    }
    fixture.assert_clean(&[&site]);
}
