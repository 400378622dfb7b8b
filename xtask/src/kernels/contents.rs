//! What the machines run: this checkout, its test binaries, and the programs that the tests start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{initramfs::Initramfs, machine, package::Kernel, report};
use crate::{command, toolchain::cargo, workspace::Workspace};

/// The directories of system programs.
const SYSTEM: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Programs that tests start, if this machine has them.
const PROGRAMS: [&str; 32] = [
    "bash",
    "bpftool",
    "bridge",
    "conntrack",
    "curl",
    "dash",
    "ethtool",
    "ip",
    "iperf3",
    "iptables",
    "iptables-save",
    "ip6tables",
    "jq",
    "modprobe",
    "mount",
    "nc",
    "nft",
    "nginx",
    "nsenter",
    "ping",
    "python3",
    "redis-benchmark",
    "redis-cli",
    "redis-server",
    "setpriv",
    "sh",
    "sysctl",
    "tc",
    "tcpdump",
    "unshare",
    "wg",
    "wrk",
];

/// Directories that exist before anything is mounted; the kernel calls `/sbin/modprobe`.
const DIRECTORIES: [&str; 12] = [
    "/bin", "/dev", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp",
    "/var/lib", "/var/log",
];

/// Files and directories that those programs read.
const DATA: [&str; 9] = [
    "/etc/group",
    "/etc/hosts",
    "/etc/iproute2",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/usr/lib/python3/dist-packages",
    "/usr/lib/x86_64-linux-gnu/xtables",
];

/// Levels whose test binaries a machine has.
const BINARIES: [&str; 6] = [
    "prog",
    "prog_cases",
    "e2e",
    "compliance",
    "lifecycle",
    "fault",
];

/// How many times longer tests wait in an emulated machine.
const SLOWDOWN: u32 = 8;

/// What a machine does.
pub struct Script {
    /// The tests, as a filter expression of the test runner.
    pub filter: String,
    /// Whether the verifier's instruction counts are recorded.
    pub update_budget: bool,
    /// Whether `netpath doctor` runs.
    pub doctor: bool,
}

/// The test runner's binary, its description of the test binaries, and the paths of both.
pub struct Contents {
    root: PathBuf,
    netpath: PathBuf,
    object: PathBuf,
    runner: PathBuf,
    /// Path on the machine and file of this one.
    files: Vec<(PathBuf, PathBuf)>,
    binaries: PathBuf,
    metadata: PathBuf,
    prog: PathBuf,
}

impl Contents {
    /// Builds the tests and prepares copies without debug information.
    pub fn build(workspace: &Workspace, netpath: &Path, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory.join("stripped"))
            .context("cannot create the directory of stripped programs")?;
        let mut list = workspace.cargo();
        list.args([
            "nextest",
            "list",
            "--list-type=binaries-only",
            "--message-format=json",
            "--package=netpath-tests",
        ]);
        list.args(BINARIES.iter().flat_map(|name| ["--test", name]));
        let binaries = command::output(&mut list)?;
        let host = command::host()?;
        let metadata = command::output(workspace.cargo().args([
            "metadata",
            "--format-version=1",
            "--offline",
            "--filter-platform",
            &host,
        ]))?;
        let described: Value =
            serde_json::from_str(&binaries).context("the test runner printed no JSON")?;
        let paths = described["rust-binaries"].as_object().into_iter().flatten();
        let mut programs: Vec<_> = paths
            .filter_map(|(_, binary)| binary["binary-path"].as_str().map(PathBuf::from))
            .collect();
        let prog = programs
            .iter()
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("prog-"))
            })
            .context("the test runner names no binary of the level prog")?
            .clone();
        programs.push(netpath.to_owned());
        let mut files = Vec::new();
        for program in programs {
            let name = program.file_name().context("a test binary has no name")?;
            let stripped = directory.join("stripped").join(name);
            command::run(
                Command::new("strip")
                    .arg("--strip-debug")
                    .arg("-o")
                    .args([&stripped, &program]),
            )?;
            files.push((program, stripped));
        }
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text)
                .map(|()| path)
                .context("cannot describe the tests")
        };
        Ok(Self {
            root: workspace.root.clone(),
            netpath: netpath.to_owned(),
            object: workspace.bpf_object(),
            runner: command::find("cargo-nextest")
                .or_else(|| {
                    Some(cargo::home().join("bin/cargo-nextest")).filter(|path| path.is_file())
                })
                .context("cargo-nextest is not found")?,
            files,
            binaries: write("binaries.json", &binaries)?,
            metadata: write("metadata.json", &metadata)?,
            prog,
        })
    }

    /// The root file system for a kernel.
    pub fn image(&self, kernel: &Kernel, script: &Script) -> Result<Initramfs> {
        let mut image = Initramfs::default();
        for directory in DIRECTORIES {
            image.directory(Path::new(directory))?;
        }
        for name in PROGRAMS {
            if let Some(path) = system_program(name) {
                image.file(&path)?;
            }
        }
        if let Some(python) = system_program("python3") {
            let script = "import sysconfig; print(sysconfig.get_path('stdlib'))";
            let library = command::output(Command::new(python).args(["-I", "-c", script]))?;
            let library = Path::new(library.trim());
            image.tree(library, library)?;
        }
        for path in DATA.map(Path::new) {
            if path.is_dir() {
                image.tree(path, path)?;
            } else if path.exists() {
                image.file(path)?;
            }
        }
        self.checkout(&mut image)?;
        for (path, source) in &self.files {
            image.file_as(path, source)?;
        }
        for path in [&self.object, &self.runner, &self.binaries, &self.metadata] {
            image.file(path)?;
        }
        modules(&mut image, kernel)?;
        let busybox = system_program("busybox").context("busybox is not found")?;
        image.file_as(Path::new("/busybox/busybox"), &busybox)?;
        image.script(Path::new("/init"), &self.init(script))?;
        Ok(image)
    }

    /// The tracked files: tests read some of them.
    fn checkout(&self, image: &mut Initramfs) -> Result<()> {
        let mut git = Command::new("git");
        let tracked = command::output(
            git.arg("-C")
                .arg(&self.root)
                .args(["ls-files", "-z", "--cached"]),
        )?;
        for name in tracked.split('\0').filter(|name| !name.is_empty()) {
            let path = self.root.join(name);
            if path.is_file() {
                image.file(&path)?;
            }
        }
        Ok(())
    }

    /// The script of the init process: mounts file systems, then prints the sections of the console, see [`report`].
    fn init(&self, script: &Script) -> String {
        let Self {
            root,
            netpath,
            object,
            runner,
            binaries,
            metadata,
            prog,
            ..
        } = self;
        let path = SYSTEM.join(":");
        let Script {
            filter,
            update_budget,
            doctor,
        } = script;
        let update = if *update_budget {
            "UPDATE_BUDGET=1"
        } else {
            ""
        };
        let check = if *doctor {
            format!("{} doctor", netpath.display())
        } else {
            String::new()
        };
        let cpus = machine::CPUS;
        let (programs, budget, section, tests, exit) = (
            report::PROGRAMS,
            report::BUDGET,
            report::DOCTOR,
            report::TESTS,
            report::EXIT,
        );
        format!(
            "#!/busybox/busybox sh
/busybox/busybox mkdir -p /busybox/bin
/busybox/busybox --install -s /busybox/bin
export PATH={path}:/busybox/bin HOME=/root TERM=dumb RUST_BACKTRACE=0 NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t bpf bpffs /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
ip link set lo up
hostname netpath-kernels
export NETPATH_BIN={netpath} NETPATH_BPF_OBJECT={object} NETPATH_TEST_SLOWDOWN={SLOWDOWN}
cd {root}
echo '{programs}'
{update} {prog} --exact budget::budget_of_the_verifier_is_kept --nocapture
echo '{budget}'
cat .config/verifier-budget.toml
echo '{section}'
{check}
echo '{tests}'
# On a terminal the test runner would draw a progress bar.
mkfifo /tmp/tests
cat /tmp/tests &
{runner} nextest run --profile kernels --test-threads {cpus} --binaries-metadata {binaries} --cargo-metadata {metadata} \
    -E '{filter}' > /tmp/tests 2>&1
status=$?
wait
echo '{exit}' $status
poweroff -f
",
            netpath = netpath.display(),
            object = object.display(),
            root = root.display(),
            prog = prog.display(),
            runner = runner.display(),
            binaries = binaries.display(),
            metadata = metadata.display(),
        )
    }
}

fn system_program(name: &str) -> Option<PathBuf> {
    let candidates = SYSTEM
        .iter()
        .map(|directory| Path::new(directory).join(name));
    candidates
        .into_iter()
        .find(|path| command::is_executable(path))
}

/// The modules of a kernel with their index, so that the kernel loads modules on demand.
fn modules(image: &mut Initramfs, kernel: &Kernel) -> Result<()> {
    let directory = kernel.modules();
    let base = directory
        .ancestors()
        .nth(3)
        .context("the modules are not below lib/modules")?;
    command::run(
        Command::new("depmod")
            .arg("-b")
            .arg(base)
            .arg(&kernel.release),
    )?;
    let target = Path::new("/lib/modules").join(&kernel.release);
    for entry in fs::read_dir(&directory).context("cannot read the modules")? {
        let entry = entry.context("cannot read the modules")?;
        if entry.path().is_file() {
            image.file_as(&target.join(entry.file_name()), &entry.path())?;
        }
    }
    for part in ["arch", "crypto", "drivers/net", "lib", "net"] {
        let source = directory.join("kernel").join(part);
        if source.is_dir() {
            image.tree(&target.join("kernel").join(part), &source)?;
        }
    }
    Ok(())
}
