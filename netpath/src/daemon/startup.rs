//! Startup: requirements, store, programs, and the first reconcile. Takes over the kernel state of an earlier daemon.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{DaemonError, lock::file_error};
use crate::{
    commands::{Node, NodeParts, Stored},
    config::{AttachMode, Config, PINS_LINK, StoreKind, XdpMode},
    datapath::{
        Datapath, NodeSettings,
        attach::{Mode, Xdp},
        pins,
    },
    kernel::{self, Kernel, host, listeners, mounts, netns},
    model::Id,
    reconcile::{Depth, Host, Reconciler},
    store::{self, CompositeStore, ConsulStore, EtcdStore, FileStore, Store, StoreError},
};

/// Checks the kernel and the capabilities of the process.
///
/// # Errors
/// If a requirement is not met.
pub fn check_requirements() -> Result<(), DaemonError> {
    check_kernel()?;
    check_capabilities()
}

/// Finds the cgroup, opens the store, loads the programs, and reconciles the node with the store.
///
/// # Errors
/// The first step that failed.
pub async fn start(config: &Config) -> Result<Node, DaemonError> {
    let cgroup = cgroup(config)?;
    let mut stored = open_store(config)?.with_denied(Arc::clone(&config.denied));
    let ports = listeners::local_port_range()?;
    let settings = NodeSettings {
        netns_cookie: netns::cookie()?,
        secret: kernel::random() | 1,
        fragment_key: kernel::random() | 1,
        timers: config.timers,
    };
    let mode = match config.attach {
        AttachMode::Auto => None,
        AttachMode::Tcx => Some(Mode::Tcx),
        AttachMode::Filter => Some(Mode::Filter),
    };
    let mut datapath = Datapath::load(&config.bpf_dir, config.limits, settings, mode)?;
    datapath.set_xdp(match config.xdp {
        XdpMode::Off => None,
        XdpMode::Native => Some(Xdp::Native),
        XdpMode::Generic => Some(Xdp::Generic),
    })?;
    #[cfg(feature = "trace")]
    datapath.start_trace()?;
    datapath.attach_sockets(&cgroup)?;
    link_pins(config)?;
    let kernel = Kernel::open()?;
    let adopted = stored.state().adopted_devices();
    let facts = kernel.facts(&config.uplinks, &adopted).await?;
    let netns_dir = config.run_dir.join("netns");
    let host_netns = config.host_netns();
    netns::mount_own(&host_netns)?;
    let id = Id::from_random(kernel::random());
    let id = stored.node_id(id)?;
    let mut node = Node::new(NodeParts {
        name: config.node.clone(),
        id,
        stored,
        reconciler: Reconciler {
            kernel: Host { kernel, netns_dir },
            datapath,
        },
        facts,
        pools: config.pools.clone(),
        underlay_address: config.underlay_address,
        host_netns,
        free_ports: ports,
        degraded: BTreeMap::new(),
    });
    node.join_cluster().await?;
    node.renew_denials()?;
    node.forget_ended();
    node.add_built_in().await?;
    node.reconcile(Depth::Inside, &config.uplinks).await?;
    Ok(node)
}

/// Opens the store. Refuses a lost store: the first reconcile would remove the objects of an earlier daemon from the
/// kernel.
fn open_store(config: &Config) -> Result<Stored, DaemonError> {
    let path = config.state_dir.join(store::STATE_FILE);
    let lost = || DaemonError::LostStore {
        store: path.clone(),
        bpf_dir: config.bpf_dir.clone(),
        run_dir: config.run_dir.clone(),
        state_dir: config.state_dir.clone(),
    };
    let exists = path
        .try_exists()
        .map_err(|source| file_error("access", &path, source))?;
    if !exists && pins::exist(&config.bpf_dir)? {
        return Err(lost());
    }
    let file = FileStore::open(&path)?;
    // An interrupted first start leaves an empty store and pins, but no pins of sandboxes.
    let is_empty = file.list(store::objects::LOCAL)?.entries.is_empty();
    if is_empty && pins::exist_of_sandboxes(&config.bpf_dir)? {
        return Err(lost());
    }
    let store = tokio::task::block_in_place(|| with_shared(file, &config.store))?;
    Ok(Stored::load(store)?)
}

/// The store of the node: its file, and the distributed store if there is one.
fn with_shared(file: FileStore, kind: &StoreKind) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match kind {
        StoreKind::File => Arc::new(file.alone()?),
        StoreKind::Etcd(settings) => Arc::new(CompositeStore::open(file, |identity| {
            Ok(Arc::new(EtcdStore::new(settings, identity)?))
        })?),
        StoreKind::Consul(settings) => Arc::new(CompositeStore::open(file, |identity| {
            Ok(Arc::new(ConsulStore::new(settings, identity)?))
        })?),
    })
}

/// Creates a link to the pin directory in the run directory. The command line reads it while no daemon runs.
fn link_pins(config: &Config) -> Result<(), DaemonError> {
    let link = config.run_dir.join(PINS_LINK);
    match fs::remove_file(&link) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(file_error("remove", &link, source));
        }
        _ => {}
    }
    let target = fs::canonicalize(&config.bpf_dir)
        .map_err(|source| file_error("resolve", &config.bpf_dir, source))?;
    symlink(target, &link).map_err(|source| file_error("link", &link, source))
}

/// Mounts a BPF file system at `/sys/fs/bpf` if the pin directory is below it and none is mounted there.
///
/// # Errors
/// If it cannot be mounted.
pub fn mount_bpffs(bpf_dir: &Path) -> Result<(), DaemonError> {
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
