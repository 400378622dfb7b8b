//! A daemon that cannot start reports the reason in one line and changes nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use netpath_tests::{
    Daemon, Netns, Output,
    fixture::{EchoClient, Fixture, NodeState, Topology, devices, error_defect, populated_node},
    netpath_binary, pin_names,
};
use tempfile::TempDir;

/// A host and directories without a daemon.
struct StartTest {
    topology: Topology,
    directory: TempDir,
}

impl StartTest {
    fn new() -> Self {
        let directory = TempDir::with_prefix("npt-start-").expect("directory");
        for name in ["run", "state", "bpf"] {
            fs::create_dir(directory.path().join(name)).expect("directory");
        }
        let bpf = Some("bpf");
        nix::mount::mount(
            bpf,
            &directory.path().join("bpf"),
            bpf,
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )
        .expect("bpffs");
        Self {
            topology: Topology::new(),
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("write");
        path.display().to_string()
    }

    /// Starts a daemon with these flags instead of the default ones.
    fn start(&self, before: &[&str], flags: &[(&str, &str)]) -> Output {
        self.start_on(&self.topology.host, before, flags)
    }

    /// Starts a daemon on this host.
    fn start_on(&self, host: &Netns, before: &[&str], flags: &[(&str, &str)]) -> Output {
        let cgroup = self.topology.host.cgroup().expect("cgroup");
        let right = [
            ("--run-dir", self.path("run")),
            ("--state-dir", self.path("state")),
            ("--bpf-dir", self.path("bpf/netpath")),
            ("--cgroup", cgroup.to_owned()),
        ];
        let mut words: Vec<String> = ["timeout", "20"].map(str::to_owned).into();
        words.extend(before.iter().map(|word| (*word).to_owned()));
        words.extend([netpath_binary().display().to_string(), "daemon".to_owned()]);
        for (flag, path) in right {
            if !flags.iter().any(|(other, _)| *other == flag) {
                words.extend([flag.to_owned(), path.display().to_string()]);
            }
        }
        for (flag, value) in flags {
            words.extend([(*flag).to_owned(), (*value).to_owned()]);
        }
        host.run(&words)
    }

    #[track_caller]
    fn assert_refused(&self, before: &[&str], flags: &[(&str, &str)], status: i32, words: &[&str]) {
        let pins = pin_names(&self.path("bpf"));
        let output = self.start(before, flags);
        assert_eq!(error_defect(&output, status, words), None);
        assert_eq!(devices(&self.topology.host), [""; 0]);
        assert_eq!(pin_names(&self.path("bpf")), pins, "pins");
    }
}

impl Drop for StartTest {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.path("bpf"), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn invalid_settings_are_refused_with_their_position() {
    let test = StartTest::new();
    for (text, words) in [
        ("node = 'a'\n  colour = 1\n", &[":2:3:", "colour"][..]),
        ("[timers]\nnever = 1\n", &[":2:1:", "never"]),
        ("node = \n", &[":1:"]),
        ("node = 5\n", &[":1:8:"]),
        ("reconcile_s = 0\n", &["reconcile_s"]),
        (
            "[limits]\nhalf_open = 1000\n",
            &["half_open", "power of two"],
        ),
        ("pool = '10.0.0.0/8'\n", &[":1:", "10.0.0.0/8"]),
        ("store = 'redis'\n", &["store", "redis"]),
        ("store = 'etcd://10.0.0.1'\n", &["store", "10.0.0.1"]),
    ] {
        let file = test.write("netpath.toml", text);
        test.assert_refused(&[], &[("--config", &file)], 1, words);
    }
    test.assert_refused(&[], &[("--config", "/nowhere.toml")], 1, &["/nowhere.toml"]);
    test.assert_refused(&[], &[("--store", "redis://127.0.0.1:1")], 1, &["store"]);
    test.assert_refused(&[], &[("--node", "a b")], 1, &["node"]);
    test.assert_refused(&[], &[("--metrics", "127.0.0.1:1")], 1, &["metrics"]);
    test.assert_refused(&[], &[("--xdp", "fast")], 2, &["fast"]);
    test.assert_refused(&[], &[("--pool", "10.0.0.0/8")], 2, &["10.0.0.0/8"]);
}

#[test]
fn invalid_directories_are_refused() {
    let test = StartTest::new();
    let file = test.write("file", "");
    let plain = test.path("plain").display().to_string();
    test.assert_refused(
        &[],
        &[("--bpf-dir", &plain)],
        1,
        &["BPF file system", "mount"],
    );
    test.assert_refused(&[], &[("--cgroup", "/tmp")], 1, &["/tmp", "cgroup"]);
    test.assert_refused(&[], &[("--cgroup", "/nowhere")], 1, &["/nowhere"]);
    test.assert_refused(&[], &[("--run-dir", &file)], 1, &[&file]);
    test.assert_refused(&[], &[("--state-dir", &file)], 1, &[&file]);
    test.assert_refused(&[], &[("--run-dir", "/proc/x")], 1, &["/proc/x"]);
}

#[test]
fn missing_capabilities_are_reported() {
    let test = StartTest::new();
    for name in ["cap_bpf", "cap_net_admin", "cap_sys_admin", "cap_perfmon"] {
        let drop = format!("-{}", name.trim_start_matches("cap_"));
        let words = ["setpriv", "--bounding-set", &drop];
        test.assert_refused(&words, &[], 1, &[&name.to_uppercase()]);
    }
}

#[test]
fn foreign_state_file_is_refused_and_unchanged() {
    let test = StartTest::new();
    for content in ["", "garbage", &"x".repeat(1 << 16)] {
        let file = test.write("state/state.redb", content);
        test.assert_refused(&[], &[], 1, &["state.redb"]);
        assert_eq!(fs::read(&file).expect("read"), content.as_bytes());
    }
}

/// Restores the state file of a stopped daemon. The daemon starts, the connection continues, and the node is as it was.
#[track_caller]
fn assert_restored(
    fixture: &mut Fixture,
    line: &mut EchoClient,
    (file, content): (&Path, &[u8]),
    expected: &NodeState,
) {
    fs::write(file, content).expect("write");
    fixture.daemon.restart();
    line.exchange_line();
    assert_eq!(NodeState::of(fixture), *expected);
}

#[test]
fn damaged_state_file_is_refused_and_traffic_continues() {
    let mut fixture = populated_node();
    let file = fixture.daemon.state_dir().join("state.redb");
    let before = NodeState::of(&fixture);
    fixture.daemon.stop();
    let good = fs::read(&file).expect("read");
    let mut bad = good.clone();
    for octet in bad.iter_mut().skip(4096).step_by(97) {
        *octet ^= 0x5a;
    }
    fs::write(&file, &bad).expect("write");
    let mut line = fixture.connect_from_outside(8080).expect("connection");
    let refused = start_again(&fixture.daemon, &fixture.topology);
    assert_eq!(error_defect(&refused, 1, &["state.redb"]), None);
    line.exchange_line();
    assert_restored(&mut fixture, &mut line, (&file, &good), &before);
}

#[test]
fn class6_second_daemon_that_shares_a_resource_is_refused() {
    let fixture = populated_node();
    let daemon = &fixture.daemon;
    let before = NodeState::of(&fixture);
    let other = StartTest::new();
    let host = &fixture.topology.host;
    let elsewhere = &other.topology.host;
    let bpf = daemon.bpf_dir();
    for (host, shared, words) in [
        (host, None, &["another daemon", "network namespace"][..]),
        (
            elsewhere,
            Some(("--run-dir", daemon.run_dir())),
            &["another daemon", "--run-dir"],
        ),
        (
            elsewhere,
            Some(("--state-dir", daemon.state_dir())),
            &["another daemon", "--state-dir"],
        ),
        (
            elsewhere,
            Some(("--bpf-dir", bpf)),
            &["another daemon", "--bpf-dir"],
        ),
    ] {
        let shared = shared.map(|(flag, path)| (flag, path.display().to_string()));
        let flags = shared.iter().map(|(flag, path)| (*flag, path.as_str()));
        let output = other.start_on(host, &[], &flags.collect::<Vec<_>>());
        assert_eq!(error_defect(&output, 1, words), None);
        assert_eq!(devices(elsewhere), [""; 0]);
        assert_eq!(NodeState::of(&fixture), before);
    }
    fixture.assert_published(8080, "web");
}

#[test]
fn teardown_without_the_daemon_of_the_namespace_is_refused() {
    let fixture = populated_node();
    let before = NodeState::of(&fixture);
    let other = StartTest::new();
    let [run, bpf] = ["run", "bpf/netpath"].map(|name| other.path(name).display().to_string());
    let words = ["teardown", "--force", "--run-dir", &run, "--bpf-dir", &bpf];
    let output = fixture.daemon.cli(&words);
    assert_eq!(
        error_defect(&output, 1, &["another daemon", "network namespace"]),
        None
    );
    assert_eq!(NodeState::of(&fixture), before);
}

/// If another user could hold a lock, that user could prevent the daemon from starting.
#[test]
fn class6_lock_files_cannot_be_opened_by_other_users() {
    let mut fixture = populated_node();
    let files = [
        fixture.daemon.run_dir().join("lock"),
        fixture.daemon.state_dir().join("lock"),
        fixture.daemon.bpf_dir().join("links"),
    ];
    fixture.daemon.stop();
    // As an earlier version has created it.
    fs::set_permissions(&files[0], fs::Permissions::from_mode(0o644)).expect("mode");
    fixture.daemon.restart();
    for file in &files {
        let mode = fs::metadata(file).expect("lock").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
        let path = file.display().to_string();
        let as_nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        let words = as_nobody
            .iter()
            .copied()
            .chain(["flock", "-s", "-n", &path, "true"]);
        let output = fixture.topology.host.run(&words.collect::<Vec<_>>());
        assert_ne!(output.status, Some(0), "{}", file.display());
    }
}

/// Without its state file, the first reconcile would remove every sandbox.
#[test]
fn class6_lost_state_file_is_refused_until_it_is_restored_or_torn_down() {
    let mut fixture = populated_node();
    let file = fixture.daemon.state_dir().join("state.redb");
    let before = NodeState::of(&fixture);
    fixture.daemon.stop();
    let kept = fs::read(&file).expect("read");
    let mut line = fixture.connect_from_outside(8080).expect("connection");
    let words = ["state.redb", "restore", "teardown --force", "--bpf-dir"];
    fs::remove_file(&file).expect("remove");
    let refused = start_again(&fixture.daemon, &fixture.topology);
    assert_eq!(error_defect(&refused, 1, &words), None);
    assert!(!file.exists(), "a refused start creates no store");
    line.exchange_line();

    assert_restored(&mut fixture, &mut line, (&file, &kept), &before);

    fixture.daemon.stop();
    fs::remove_file(&file).expect("remove");
    let [run, state, bpf] = directories(&fixture.daemon);
    let words = [
        "teardown",
        "--force",
        "--run-dir",
        &run,
        "--state-dir",
        &state,
        "--bpf-dir",
        &bpf,
    ];
    fixture.daemon.cli(&words).success();
    fixture.daemon.restart();
    assert_eq!(fixture.sandboxes(), [""; 0]);
}

fn directories(daemon: &Daemon) -> [String; 3] {
    [daemon.run_dir(), daemon.state_dir(), daemon.bpf_dir()].map(|path| path.display().to_string())
}

fn start_again(daemon: &Daemon, topology: &Topology) -> Output {
    let cgroup = topology
        .host
        .cgroup()
        .expect("cgroup")
        .display()
        .to_string();
    let [run, state, bpf] = directories(daemon);
    daemon.cli(&[
        "daemon",
        "--run-dir",
        &run,
        "--state-dir",
        &state,
        "--bpf-dir",
        &bpf,
        "--cgroup",
        &cgroup,
    ])
}

#[test]
fn pinned_maps_of_another_layout_or_version_are_refused_and_unchanged() {
    let test = StartTest::new();
    let host = &test.topology.host;
    let (net, other) = (test.path("bpf/netpath"), test.path("bpf/netpath/maps-v99"));
    fs::create_dir_all(&other).expect("directory");
    test.assert_refused(&[], &[], 1, &["maps-v99", "another version"]);
    fs::remove_dir(&other).expect("remove");
    let version = fs::read_dir(&net)
        .expect("pins")
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("maps-v"));
    let maps = version.expect("directory of maps").path();
    let ports = maps.join("ports").display().to_string();
    host.exec(&format!(
        "bpftool map create {ports} type hash key 4 value 4 entries 16 name ports"
    ));
    test.assert_refused(&[], &[], 1, &["ports", "4-byte keys", "teardown --force"]);
    assert!(maps.join("ports").exists());
}
