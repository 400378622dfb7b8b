//! From nothing, or from what an earlier daemon left, to a node that is as it should be.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{
    DaemonError,
    exhaustion::Exhaustion,
    life,
    lock::file_error,
    node::{Node, Surroundings},
};
use crate::{
    config::{AttachMode, Config, PINS_LINK},
    datapath::{Datapath, NodeSettings, attach::Mode},
    kernel::{self, Kernel, host, listeners, mounts, netns},
    model::State,
    reconcile::{Depth, Reconciler},
    store::{self, FileStore, objects},
};

/// Looks at the node for which an uplink is kept without a default route.
const HOLD: u32 = 4;

/// Checks the surroundings, opens the store, loads the programs, and brings everything to what is stored.
///
/// # Errors
/// The first thing that does not work.
pub async fn start(config: &Config) -> Result<Node, DaemonError> {
    check_kernel()?;
    check_capabilities()?;
    let cgroup = cgroup(config)?;
    fs::create_dir_all(&config.state_dir)
        .map_err(|source| file_error("create", &config.state_dir, source))?;
    let store = FileStore::open(&config.state_dir.join(store::STATE_FILE))?;
    let state = objects::load_state(&store)?;
    mount_bpffs(&config.bpf_dir)?;
    let ports = listeners::local_port_range()?;
    let settings = NodeSettings {
        netns_cookie: netns::cookie()?,
        secret: kernel::random() | 1,
        fragment_key: kernel::random() | 1,
        timers: config.timers,
        snat_ports: snat_ports(ports),
    };
    let mut datapath = Datapath::load(&config.bpf_dir, config.limits, settings)?;
    match config.attach {
        AttachMode::Auto => {}
        AttachMode::Tcx => datapath.set_mode(Mode::Tcx)?,
        AttachMode::Filter => datapath.set_mode(Mode::Filter)?,
    }
    #[cfg(feature = "trace")]
    datapath.start_trace()?;
    datapath.attach_sockets(&cgroup)?;
    note_pins(config)?;
    let kernel = Kernel::open()?;
    let facts = kernel.facts(&config.uplinks).await?;
    let mut node = Node {
        state,
        store: Box::new(store),
        reconciler: Reconciler {
            kernel,
            datapath,
            netns_dir: config.run_dir.join("netns"),
        },
        facts,
        surroundings: Surroundings {
            pools: config.pools.clone(),
            host_netns: PathBuf::from(format!("/proc/{}/ns/net", std::process::id())),
            free_ports: ports,
            hold: config.reconcile * HOLD,
        },
        last: None,
        torn_down: false,
        lost_uplinks: BTreeMap::new(),
        troubles: port_trouble(snat_ports(ports)),
        exhaustion: Exhaustion::default(),
    };
    netns::remove_leftovers(&node.reconciler.netns_dir)?;
    forget_the_gone(&mut node)?;
    add_built_in(&mut node).await?;
    node.reconcile(Depth::Inside, &config.uplinks).await?;
    Ok(node)
}

/// Notes where the pins are, for a command line that looks at them while no daemon runs.
fn note_pins(config: &Config) -> Result<(), DaemonError> {
    let link = config.run_dir.join(PINS_LINK);
    match fs::remove_file(&link) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(file_error("remove", &link, source));
        }
        _ => {}
    }
    let target = fs::canonicalize(&config.bpf_dir)
        .map_err(|source| file_error("find", &config.bpf_dir, source))?;
    symlink(target, &link).map_err(|source| file_error("make", &link, source))
}

/// Sandboxes whose process or namespace went while no daemon ran.
fn forget_the_gone(node: &mut Node) -> Result<(), DaemonError> {
    let gone: Vec<_> = node
        .state
        .sandboxes()
        .filter(|sandbox| life::is_gone(sandbox))
        .map(|sandbox| sandbox.name.clone())
        .collect();
    for name in life::sharers_first(&node.state, gone) {
        if let Ok(change) = node.state.remove_sandbox(&name) {
            tracing::info!(sandbox = %name, "gone while the daemon was down");
            node.record_only(&change)?;
        }
    }
    Ok(())
}

/// The networks that every node has. They are only recorded: the first reconcile makes them.
async fn add_built_in(node: &mut Node) -> Result<(), DaemonError> {
    while let Some(change) = node.answer_with_routes(State::missing_built_in).await? {
        node.record_only(&change)?;
    }
    Ok(())
}

/// What is wrong if sockets of the node may get nearly every port.
fn port_trouble((first, last): (u16, u16)) -> BTreeMap<&'static str, String> {
    const FEW: u16 = 4096;
    if last.saturating_sub(first) >= FEW {
        return BTreeMap::new();
    }
    let text = "net.ipv4.ip_local_port_range leaves hardly a port for outbound translation; narrow it, \
                for instance to '32768 60999', and restart the daemon";
    BTreeMap::from([("ports", text.to_owned())])
}

/// The larger part of the unprivileged ports that no socket of the node gets by itself.
fn snat_ports((first, last): (u16, u16)) -> (u16, u16) {
    let below = (1024, first.saturating_sub(1));
    let above = (last.saturating_add(1), u16::MAX);
    let size = |(first, last): (u16, u16)| last.saturating_sub(first);
    if size(below) >= size(above) {
        below
    } else {
        above
    }
}

fn mount_bpffs(bpf_dir: &Path) -> Result<(), DaemonError> {
    const ROOT: &str = "/sys/fs/bpf";
    if bpf_dir.starts_with(ROOT) {
        mounts::mount_bpffs(Path::new(ROOT))?;
    }
    Ok(())
}

fn cgroup(config: &Config) -> Result<PathBuf, DaemonError> {
    let path = match &config.cgroup {
        Some(path) => path.clone(),
        None => mounts::cgroup2()?.ok_or(DaemonError::NoCgroup)?,
    };
    let is_cgroup2 = nix::sys::statfs::statfs(&path)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC);
    if is_cgroup2 {
        Ok(path)
    } else {
        Err(DaemonError::NotCgroup(path))
    }
}

fn check_kernel() -> Result<(), DaemonError> {
    let name = nix::sys::utsname::uname()
        .map_err(|errno| file_error("read", Path::new("uname"), errno.into()))?;
    let release = name.release().to_string_lossy().into_owned();
    if host::version(&release).is_some_and(|found| found >= host::OLDEST) {
        Ok(())
    } else {
        Err(DaemonError::OldKernel {
            found: release,
            needed: host::OLDEST,
        })
    }
}

fn check_capabilities() -> Result<(), DaemonError> {
    let path = Path::new("/proc/self/status");
    let text = fs::read_to_string(path).map_err(|source| file_error("read", path, source))?;
    let missing = host::missing_capabilities(&text);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(DaemonError::Capability(missing.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snat_keeps_out_of_the_ports_of_sockets() {
        assert_eq!(snat_ports((32768, 60999)), (1024, 32767));
        assert_eq!(snat_ports((1024, 20000)), (20001, 65535));
    }
}
