//! Docker Engine and netpath's daemon on the host of a [`Topology`].

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{Netns, Output, Process, fixture::Topology, netpath_binary, slowdown};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// The first process of the engine's PID namespace. `$1` is the upper directory of the installed engine, `$2` that of the test.
/// Tests share the installed engine, which an overlay of their own covers: the kernel refuses a lower layer within another.
/// It reaps processes, because dockerd waits for the end of containerd.
const INIT: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$2/upper" "$2/work" "$2/installed-work" "$2/installed" "$2/root" "$2/docker" "$2/containerd"
mount -t overlay overlay -o "ro,lowerdir=/,upperdir=$1,workdir=$2/installed-work" "$2/installed"
mount -t overlay overlay -o "lowerdir=$2/installed,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
for name in docker containerd; do mkdir -p var/lib/$name; mount --bind "$2/$name" var/lib/$name; done
mkdir -p tmp old
mount -t tmpfs tmpfs run
mkdir -p run/netns run/lock etc/docker var/lib/netpath
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
echo '{"iptables":false,"ip6tables":false,"userland-proxy":false}' > etc/docker/daemon.json
pivot_root . old
umount -l /old
echo ready
trap : TERM INT
while :; do sleep 3600 & wait; done
"#;

/// Makes the image `box` of the static BusyBox.
const IMAGE: &str = r#"
set -e
root=$(mktemp -d)
mkdir -p $root/bin $root/www
cp /bin/busybox $root/bin/
echo hello > $root/www/index.html
for name in sh httpd nc sleep ip nslookup cat; do ln -s busybox $root/bin/$name; done
tar -C $root -c . | /usr/bin/docker import - box
"#;

/// How dockerd is started.
const DOCKERD: &str = "exec dockerd -H unix:///run/docker.sock --exec-opt native.cgroupdriver=cgroupfs --storage-driver overlay2";

/// Docker Engine, and netpath with `--docker`. Dropping it ends every process inside.
pub struct Engine {
    netpath: Option<Process>,
    dockerd: Option<Process>,
    init: Process,
    /// PID of the first process inside, as seen outside.
    pid: String,
    cgroup: String,
    directory: TempDir,
    arguments: Vec<String>,
    pub topology: Topology,
}

impl Engine {
    /// Starts both, and makes the image `box`.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with arguments of dockerd.
    #[track_caller]
    pub fn start_with(arguments: &[&str]) -> Self {
        let installed = env::var_os("NETPATH_ENGINE_DOCKER")
            .expect("NETPATH_ENGINE_DOCKER: run the tests with `cargo xtask test engines`");
        let installed = PathBuf::from(installed);
        // The images of the engine must not be on an overlay.
        let parent = installed.parent().expect("the directory of the engine");
        let directory = TempDir::with_prefix_in("run-", parent).expect("directory");
        let topology = Topology::new();
        let mut init = topology.host.start(&[
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            INIT,
            "init",
            &installed.to_string_lossy(),
            &directory.path().to_string_lossy(),
        ]);
        init.wait_for_output("ready");
        let children = format!("/proc/{0}/task/{0}/children", init.pid());
        let pid = fs::read_to_string(children)
            .expect("children")
            .trim()
            .to_owned();
        let mut engine = Self {
            netpath: None,
            dockerd: None,
            cgroup: format!("/{}", topology.host.name()),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            init,
            pid,
            directory,
            topology,
        };
        engine.start_dockerd();
        engine.sh(IMAGE).success();
        engine.start_netpath();
        engine
    }

    /// Starts dockerd and waits until it replies.
    #[track_caller]
    pub fn start_dockerd(&mut self) {
        self.sh("rm -f /run/docker.pid /run/docker.sock").success();
        let arguments = self.arguments.join(" ");
        let script = format!("{DOCKERD} --cgroup-parent={} {arguments}", self.cgroup);
        self.dockerd = Some(self.spawn(&["sh", "-c", &script]));
        self.wait("dockerd replies", |engine| {
            engine.run(&["/usr/bin/docker", "version"]).status == Some(0)
        });
    }

    /// Kills dockerd.
    pub fn kill_dockerd(&mut self) {
        self.sh("kill -9 $(cat /run/docker.pid)").success();
        self.dockerd = None;
    }

    /// Starts netpath and waits until it is connected to the engine.
    #[track_caller]
    pub fn start_netpath(&mut self) {
        let binary = netpath_binary();
        let binary = binary.to_string_lossy();
        let cgroup = self.topology.host.cgroup().expect("cgroup").to_owned();
        let cgroup = cgroup.to_string_lossy();
        self.netpath = Some(self.spawn(&[
            &binary,
            "daemon",
            "--node=engine",
            "--docker=/run/docker.sock",
            "--cgroup",
            &cgroup,
        ]));
        self.wait("netpath has adopted the default network", |engine| {
            let listed = engine.run(&[&binary, "network", "ls"]);
            listed.status == Some(0) && listed.stdout.contains("docker-bridge")
        });
    }

    /// Stops netpath.
    #[track_caller]
    pub fn stop_netpath(&mut self) {
        self.sh("kill $(pgrep -x netpath)").success();
        let mut netpath = self.netpath.take().expect("netpath runs");
        netpath.wait(Duration::from_secs(10) * slowdown());
    }

    /// Runs a program inside.
    pub fn run(&self, words: &[&str]) -> Output {
        self.topology.host.run(&self.inside(words))
    }

    /// Runs a script inside.
    pub fn sh(&self, script: &str) -> Output {
        self.run(&["bash", "-c", script])
    }

    /// Runs a line of docker's client; it must succeed.
    #[track_caller]
    pub fn docker(&self, line: &str) -> String {
        let output = self.sh(&format!("/usr/bin/docker {line}"));
        output.success().trim().to_owned()
    }

    /// Runs a line of netpath with JSON output; it must succeed.
    #[track_caller]
    pub fn netpath(&self, line: &str) -> Value {
        let binary = netpath_binary();
        let output = self.sh(&format!("{} {line} -o json", binary.display()));
        serde_json::from_str(&output.success()).expect("JSON")
    }

    /// Runs a container of the image `box` that sleeps, and returns its namespace.
    #[track_caller]
    pub fn sleeper(&self, name: &str, options: &str) -> Netns {
        self.docker(&format!("run -d --name {name} {options} box sleep 100000"));
        self.namespace(name)
    }

    /// The namespace of a container.
    #[track_caller]
    pub fn namespace(&self, name: &str) -> Netns {
        let key = self.docker(&format!(
            "inspect -f {{{{.NetworkSettings.SandboxKey}}}} {name}"
        ));
        let key = Path::new(&key).file_name().expect("name").to_owned();
        let directory = Path::new("/proc")
            .join(&self.pid)
            .join("root/run/docker/netns");
        Netns::open(name, &directory.join(key), &self.topology.host)
    }

    /// The address of a container in a network.
    #[track_caller]
    pub fn address(&self, name: &str, network: &str) -> String {
        let path = format!("(index .NetworkSettings.Networks \"{network}\").IPAddress");
        self.docker(&format!("inspect -f '{{{{{path}}}}}' {name}"))
    }

    /// Published ports, as `HOST_IP:PORT-END/PROTOCOL of SANDBOX`, in order.
    pub fn ports(&self) -> Vec<String> {
        let ports = self.netpath("port ls");
        let ports = ports.as_array().expect("ports").iter().map(|port| {
            format!(
                "{}:{}-{}/{}",
                port["host_ip"].as_str().unwrap_or("*"),
                port["host_port"],
                port["host_port_end"],
                port["protocol"].as_str().expect("protocol")
            )
        });
        let mut ports: Vec<_> = ports.collect();
        ports.sort();
        ports
    }

    /// Waits until a condition holds; panics with the logs after 20 seconds.
    #[track_caller]
    pub fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(
                start.elapsed() < Duration::from_secs(20) * slowdown(),
                "not in time: {what}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails if a firewall rule exists on the host, or a host has received a wrong checksum.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.topology.assert_clean();
        let rules = self.sh(
            "nft list ruleset; for t in filter nat raw mangle; do iptables-legacy-save -t $t; done",
        );
        let rules = rules.success();
        let lines = rules.lines();
        let rule = lines.filter(|line| line.starts_with("-A") || line.contains("DOCKER"));
        assert_eq!(rule.count(), 0, "{rules}");
    }

    fn spawn(&self, words: &[&str]) -> Process {
        self.topology.host.start(&self.inside(words))
    }

    fn inside(&self, words: &[&str]) -> Vec<String> {
        let enter = ["nsenter", "-t", &self.pid, "-m", "-p", "-r", "-w"];
        let words = enter.iter().chain(words);
        words.map(|word| (*word).to_owned()).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.netpath = None;
        self.dockerd = None;
        // The kernel ends every process of the PID namespace.
        let _ = self.topology.host.run(&["kill", "-9", &self.pid]);
        self.init.signal(Signal::SIGKILL);
        let script = format!(
            "sleep 0.3; find /sys/fs/cgroup -depth -path '*{}/*' -type d -exec rmdir {{}} + ; find /sys/fs/cgroup -depth -path '*{}' -type d -exec rmdir {{}} +",
            self.cgroup, self.cgroup
        );
        let _ = self.topology.host.run(&["sh", "-c", &script]);
        let _ = &self.directory;
    }
}
