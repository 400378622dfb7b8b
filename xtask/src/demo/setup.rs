//! The setup of the demo: a host and an outside client as network namespaces, a daemon on the host, and their removal.

use std::{
    cell::RefCell,
    env,
    ffi::OsStr,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::command;

/// The host's addresses on the uplink.
pub const HOST: (&str, &str) = ("192.0.2.1", "2001:db8:2::1");
/// The addresses of the outside client.
pub const OUTSIDE: (&str, &str) = ("192.0.2.2", "2001:db8:2::2");

/// Number of lines of the daemon's log that are shown after a failed step.
const LOG_LINES: usize = 30;

/// Where a command runs.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The host's namespace and cgroup.
    Host,
    /// The client at the other end of the uplink.
    Outside,
    /// A sandbox, through `netpath sandbox exec`.
    Sandbox(&'a str),
}

/// Everything that the demo creates and removes.
pub struct Setup {
    netpath: PathBuf,
    /// This program, which [`super::peer`] is part of.
    own: PathBuf,
    /// A prefix that is unique on this machine.
    prefix: String,
    directory: PathBuf,
    cgroup: PathBuf,
    daemon: Option<Child>,
    background: RefCell<Vec<Child>>,
}

impl Setup {
    /// Chooses the names. Creates nothing.
    pub fn new(netpath: &Path) -> Result<Self> {
        let prefix = format!("npdemo{}", process::id());
        let directory = env::temp_dir().join(&prefix);
        Ok(Self {
            netpath: netpath.to_owned(),
            own: env::current_exe().context("cannot find this program")?,
            cgroup: cgroup2_mount()
                .unwrap_or_else(|| directory.join("cgroup"))
                .join(&prefix),
            prefix,
            directory,
            daemon: None,
            background: RefCell::default(),
        })
    }

    /// Creates the namespaces, the link between them and the daemon's directories, and starts the daemon.
    pub fn create(&mut self) -> Result<()> {
        for name in ["run", "state", "bpf"] {
            create_directory(&self.directory.join(name))?;
        }
        let bpf = self.directory.join("bpf");
        mount(
            Some("bpf"),
            &bpf,
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .context("cannot mount a BPF filesystem")?;
        if let Some(own) = self.own_cgroup2() {
            create_directory(&own)?;
            mount(
                Some("cgroup2"),
                &own,
                Some("cgroup2"),
                MsFlags::empty(),
                None::<&str>,
            )
            .context("cannot mount cgroup v2")?;
        }
        create_directory(&self.cgroup)?;
        self.create_namespaces()?;
        self.start_daemon()
    }

    fn create_namespaces(&self) -> Result<()> {
        let (host, outside) = (self.namespace("host"), self.namespace("outside"));
        for namespace in [&host, &outside] {
            ip(&["netns", "add", namespace])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        ip(&[
            "-n", &host, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns",
            &outside,
        ])?;
        for (namespace, (v4, v6)) in [(&host, HOST), (&outside, OUTSIDE)] {
            ip(&[
                "-n",
                namespace,
                "address",
                "add",
                &format!("{v4}/24"),
                "dev",
                "eth0",
            ])?;
            ip(&[
                "-n",
                namespace,
                "address",
                "add",
                &format!("{v6}/64"),
                "dev",
                "eth0",
                "nodad",
            ])?;
            ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
        }
        ip(&["-n", &host, "route", "add", "default", "via", OUTSIDE.0])?;
        ip(&[
            "-n", &host, "-6", "route", "add", "default", "via", OUTSIDE.1,
        ])
    }

    fn start_daemon(&mut self) -> Result<()> {
        let log = fs::File::create(self.log_path()).context("cannot create the daemon's log")?;
        let mut daemon = self.command(Place::Host, &self.netpath);
        daemon
            .args(["daemon", "--node=demo", "--uplink=eth0", "--run-dir"])
            .arg(self.directory.join("run"))
            .arg("--state-dir")
            .arg(self.directory.join("state"))
            .arg("--bpf-dir")
            .arg(self.directory.join("bpf/netpath"))
            .arg("--cgroup")
            .arg(&self.cgroup)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is sent to the process group; the demo stops the daemon itself.
            .process_group(0);
        self.daemon = Some(daemon.spawn().context("cannot start the daemon")?);
        self.netpath(&["status", "--wait", "20"])
            .map(drop)
            .context("the daemon is not ready after 20 s")
    }

    /// Runs `netpath` on the host and returns its output.
    pub fn netpath(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(Place::Host, &self.netpath);
        output_of(command.args(arguments))
            .with_context(|| format!("netpath {}", arguments.join(" ")))
    }

    /// Runs the client in a place; returns the address that the server sees.
    pub fn request(&self, place: Place<'_>, server: &str) -> Result<String> {
        let mut command = self.command(place, &self.own);
        let seen = output_of(command.args(["peer", "request", server]))?;
        let address = seen
            .trim()
            .rsplit_once(':')
            .map_or(seen.trim(), |(address, _)| address);
        Ok(address.trim_matches(['[', ']']).to_owned())
    }

    /// Starts a command of this program in a place; it runs until the end of the demo.
    pub fn start_background(&self, place: Place<'_>, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(place, &self.own);
        command
            .arg("peer")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", command::shown(&command)))?;
        self.background.borrow_mut().push(child);
        Ok(())
    }

    /// The path of this program inside a sandbox.
    pub fn own_program(&self) -> String {
        self.own.to_string_lossy().into_owned()
    }

    /// A command in a place. Processes of the host run in the cgroup that the daemon attaches to.
    fn command(&self, place: Place<'_>, program: &Path) -> Command {
        let mut command = match place {
            // `ip netns exec` would mount /sys over the BPF file system and the cgroups.
            Place::Outside => self.command_in_namespace("outside", program),
            Place::Host => self.command_in_host(program),
            Place::Sandbox(name) => {
                let mut command = self.command_in_host(&self.netpath);
                command.args(["sandbox", "exec", name, "--"]).arg(program);
                command
            }
        };
        command
            .env("NETPATH_SOCKET", self.directory.join("run/netpath.sock"))
            .env_remove("NOTIFY_SOCKET");
        command
    }

    fn command_in_host(&self, program: &Path) -> Command {
        let mut command = self.command_in_namespace("host", "sh");
        let join = format!(
            "echo $$ > {}/cgroup.procs && exec \"$@\"",
            self.cgroup.display()
        );
        command.args(["-c", &join, "sh"]).arg(program);
        command
    }

    fn command_in_namespace(&self, namespace: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace(namespace)))
            .arg("--")
            .arg(program);
        command
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }

    /// Prints the end of the daemon's log.
    pub fn print_log(&self) {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        if !lines.is_empty() {
            println!("\nThe last lines of the daemon's log:");
        }
        for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
            println!("  {line}");
        }
    }

    /// Removes everything that exists. Returns what could not be removed.
    pub fn tear_down(&mut self) -> Vec<String> {
        let mut errors = Vec::new();
        let mut record =
            |result: Result<()>| errors.extend(result.err().map(|error| format!("{error:#}")));
        if let Some(mut daemon) = self.daemon.take() {
            record(self.netpath(&["teardown"]).map(drop));
            record(stop_daemon(&mut daemon));
        }
        for mut child in self.background.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        record(self.remove_cgroup());
        for name in ["host", "outside"].map(|name| self.namespace(name)) {
            if Path::new("/run/netns").join(&name).exists() {
                record(ip(&["netns", "delete", &name]));
            }
        }
        let bpf = self.directory.join("bpf");
        if is_mounted(&bpf) {
            record(
                umount2(&bpf, MntFlags::MNT_DETACH).context("cannot unmount the BPF filesystem"),
            );
        }
        if let Some(own) = self.own_cgroup2().filter(|own| is_mounted(own)) {
            record(umount2(&own, MntFlags::MNT_DETACH).context("cannot unmount cgroup v2"));
        }
        record(self.remove_directory());
        errors
    }

    /// Kills every process of the host, then removes its cgroup and the cgroups below.
    fn remove_cgroup(&self) -> Result<()> {
        if !self.cgroup.exists() {
            return Ok(());
        }
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        for _ in 0..50 {
            if remove_groups(&self.cgroup).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("{} is still in use", self.cgroup.display())
    }

    fn remove_directory(&self) -> Result<()> {
        // Unmounts namespaces that the daemon could not remove.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .map(Path::new);
        for mounted in below.filter(|mounted| mounted.starts_with(&self.directory)) {
            let _ = umount2(mounted, MntFlags::MNT_DETACH);
        }
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory)
                .with_context(|| format!("cannot remove {}", self.directory.display()))?;
        }
        Ok(())
    }

    /// The demo's own mount point of cgroup v2; `None` if the machine has one.
    fn own_cgroup2(&self) -> Option<PathBuf> {
        self.cgroup
            .parent()
            .filter(|parent| parent.starts_with(&self.directory))
            .map(Path::to_owned)
    }
}

/// The mount point of the machine's cgroup v2.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' '));
    fields.find_map(|mut line| {
        let point = line.nth(1)?;
        (line.next()? == "cgroup2").then(|| PathBuf::from(point))
    })
}

fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

fn is_mounted(directory: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1).map(Path::new) == Some(directory))
}

/// Runs a command and returns its output. An error contains only the command's own message, without the commands that
/// enter the namespace.
fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run `{}`", command::shown(command)))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let text = text.trim().trim_start_matches("xtask: ");
        bail!(
            "{}",
            if text.is_empty() {
                output.status.to_string()
            } else {
                text.to_owned()
            }
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn stop_daemon(daemon: &mut Child) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(daemon.id())?);
    if daemon.try_wait()?.is_none() {
        kill(pid, Signal::SIGTERM).context("cannot stop the daemon")?;
    }
    for _ in 0..100 {
        if daemon.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    daemon.kill()?;
    daemon.wait()?;
    bail!("the daemon did not exit within 5 s of SIGTERM")
}

fn create_directory(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

fn ip(arguments: &[&str]) -> Result<()> {
    command::output(Command::new("ip").args(arguments)).map(drop)
}
