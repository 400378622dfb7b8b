//! Invalid requests to the API.

use serde_json::Value;

use netpath_tests::{
    fixture::{Fixture, NodeState, populated_node},
    table::Table,
};

use crate::refusals;

/// Method, path, body, status.
type Case = (&'static str, &'static str, &'static str, u16);

/// Cases as lines: status, method, path, body.
macro_rules! cases {
    ($($status:literal $method:literal $path:literal $body:literal;)*) => {
        &[$(($method, $path, $body, $status)),*]
    };
}

const CASES: &[Case] = cases! {
    404 "GET" "/v1/nonsense" "";
    404 "GET" "/" "";
    404 "GET" "/v2/status" "";
    405 "PUT" "/v1/networks" "{}";
    405 "DELETE" "/v1/status" "";
    404 "GET" "/v1/networks/nothing" "";
    400 "GET" "/v1/networks/..%2f..%2fetc" "";
    400 "GET" "/v1/networks/%00" "";
    400 "GET" "/v1/networks/%ff%fe" "";
    404 "GET" "/v1/sandboxes/wep" "";
    404 "GET" "/v1/ports?sandbox=wep" "";
    400 "GET" "/v1/ports?colour=red" "";
    404 "GET" "/v1/maps/nothing" "";
    409 "DELETE" "/v1/networks/bridge" "";
    409 "DELETE" "/v1/networks/blue" "";
    409 "DELETE" "/v1/sandboxes/web" "";
    400 "POST" "/v1/networks" "";
    400 "POST" "/v1/networks" "{";
    400 "POST" "/v1/networks" "[]";
    400 "POST" "/v1/networks" "null";
    400 "POST" "/v1/networks" "{}";
    400 "POST" "/v1/networks" r#"{"name":1}"#;
    400 "POST" "/v1/networks" r#"{"name":"x","colour":1}"#;
    400 "POST" "/v1/networks" r#"{"name":"x"} trailing"#;
    400 "POST" "/v1/networks" r#"{"name":"x","name":"y"}"#;
    400 "POST" "/v1/networks" r#"{"name":""}"#;
    400 "POST" "/v1/networks" r#"{"name":"../x"}"#;
    400 "POST" "/v1/networks" r#"{"name":"x\ny"}"#;
    400 "POST" "/v1/networks" r#"{"name":"x","driver":"host"}"#;
    400 "POST" "/v1/networks" r#"{"name":"x","mtu":-1}"#;
    400 "POST" "/v1/networks" r#"{"name":"x","mtu":1e99}"#;
    400 "POST" "/v1/networks" r#"{"name":"x","subnets":["10.1.2.3/24"]}"#;
    400 "POST" "/v1/networks" r#"{"name":"x","subnets":"10.1.2.0/24"}"#;
    409 "POST" "/v1/networks" r#"{"name":"blue"}"#;
    404 "POST" "/v1/networks/blue/connect" r#"{"sandbox":"wep"}"#;
    409 "POST" "/v1/networks/blue/connect" r#"{"sandbox":"db"}"#;
    404 "POST" "/v1/sandboxes" r#"{"name":"x","pid":0}"#;
    404 "POST" "/v1/sandboxes" r#"{"name":"x","pid":-1}"#;
    404 "POST" "/v1/sandboxes" r#"{"name":"x","owner_pid":-1}"#;
    400 "POST" "/v1/sandboxes" r#"{"name":"x","pid":1,"netns":"/proc/1/ns/net"}"#;
    404 "POST" "/v1/sandboxes" r#"{"name":"x","netns":"relative"}"#;
    400 "POST" "/v1/sandboxes" r#"{"name":"x","netns":"/dev/zero"}"#;
    400 "POST" "/v1/sandboxes" r#"{"name":"x","mac":"zz"}"#;
    400 "POST" "/v1/sandboxes" r#"{"name":"x","publish":["0"]}"#;
    409 "POST" "/v1/sandboxes" r#"{"name":"x","publish":["8080:80"]}"#;
    400 "POST" "/v1/sandboxes" r#"{"name":"x","networks":["container:"]}"#;
    400 "POST" "/v1/sandboxes" r#"{"name":"x","hostname":"a b\n"}"#;
    400 "POST" "/v1/ports" r#"{"sandbox":"web"}"#;
    400 "POST" "/v1/ports" r#"{"sandbox":"web","publish":["x"]}"#;
    400 "DELETE" "/v1/ports" "";
    400 "DELETE" "/v1/ports?sandbox=web" "";
    404 "DELETE" "/v1/ports" r#"{"sandbox":"web","publish":["99:80"]}"#;
};

/// Status and body of a response.
fn ask(fixture: &Fixture, method: &str, path: &str, body: &[&str]) -> (u16, String) {
    let socket = fixture.daemon.socket().display().to_string();
    let url = format!("http://netpath{path}");
    let mut command = vec![
        "curl",
        "-sS",
        "--path-as-is",
        "-m",
        "20",
        "-X",
        method,
        "--unix-socket",
        &socket,
        "-w",
        "\n%{http_code}",
        "-H",
        "Content-Type: application/json",
        "-H",
        "Expect:",
    ];
    command.extend(body);
    command.push(&url);
    let output = fixture.topology.host.run(&command).success();
    let (text, status) = output.rsplit_once('\n').expect("status");
    (status.parse().expect("status"), text.to_owned())
}

/// Whether a response is an error in the documented form.
fn is_error(text: &str) -> bool {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(error) = body["error"].as_object() else {
        return false;
    };
    let filled = |key: &str| {
        let text = error.get(key).and_then(Value::as_str);
        text.is_some_and(|text| !text.is_empty() && !text.contains("os error"))
    };
    filled("code") && filled("message") && error.contains_key("hint")
}

/// The requests as a table.
pub fn table() -> Table {
    let name = |(method, path, body, _): &Case| format!("{method} {path} {body}");
    refusals(
        "api",
        move || CASES.iter().map(name).collect(),
        move |fixture, wanted| {
            let case = CASES.iter().find(|case| name(case) == wanted);
            let (method, path, body, expected) = case.ok_or("no such case")?;
            let data = ["--data-binary", body];
            let arguments = if body.is_empty() { &[][..] } else { &data[..] };
            let (status, text) = ask(fixture, method, path, arguments);
            if status == *expected && is_error(&text) {
                return Ok(());
            }
            Err(format!("{status}, not {expected}: {text}"))
        },
    )
}

pub fn class6_oversized_nested_or_incomplete_requests_are_refused() {
    let fixture = populated_node();
    let before = NodeState::of(&fixture);
    let directory = tempfile::TempDir::new().expect("directory");
    let file = |name: &str, content: Vec<u8>| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("write");
        format!("@{}", path.display())
    };
    let mut broken = b"{\"name\":\"".to_vec();
    broken.extend([0xff, 0xfe, b'"', b'}']);
    let label = format!(
        r#"{{"name":"x","labels":{{"a":"{}"}}}}"#,
        "x".repeat(1 << 20)
    );
    let source = |index: u32| format!("{:?}", format!("10.{}.{}.0/24", index >> 8, index & 255));
    let sources: Vec<_> = (0..70_000).map(|index| source(index & 0xffff)).collect();
    let sources = sources.join(",");
    let allow = format!(r#"{{"sandbox":"web","publish":["90:90"],"allow":[{sources}]}}"#);
    for (path, body, word) in [
        ("/v1/networks", label, "4096 bytes"),
        ("/v1/ports", allow, "the limit is 1024"),
    ] {
        let data = file("body", body.into_bytes());
        let (status, text) = ask(&fixture, "POST", path, &["--data-binary", &data]);
        assert_eq!(status, 400, "{path}: {text}");
        assert!(is_error(&text) && text.contains(word), "{path}: {text}");
    }
    for (name, content, wanted) in [
        ("large", vec![b' '; 20 << 20], 400),
        ("deep", vec![b'['; 1 << 20], 400),
        ("broken", broken, 400),
    ] {
        let path = file(name, content);
        let (status, text) = ask(&fixture, "POST", "/v1/networks", &["--data-binary", &path]);
        assert_eq!(status, wanted, "{name}: {text}");
        assert!(is_error(&text), "{name}: {text}");
    }
    let socket = fixture.daemon.socket().display().to_string();
    for garbage in [
        "GARBAGE\\r\\n\\r\\n",
        "GET / HTTP/9.9\\r\\n\\r\\n",
        "\\0\\0\\0",
        "POST /v1/networks HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 99\\r\\n\\r\\n{",
    ] {
        let script = format!("printf '{garbage}' | timeout 2 nc -NU {socket}");
        fixture.topology.host.run(&["sh", "-c", &script]);
    }
    assert_eq!(NodeState::of(&fixture), before);
    fixture.assert_published(8080, "web");
}
