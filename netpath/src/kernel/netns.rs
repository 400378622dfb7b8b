//! Network namespaces.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    net::if_::{Interface, if_nameindex},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{FsType, fstatfs},
};

use super::{Error, sysctl};
use crate::model::NetnsId;

/// File system type of namespace files; `NSFS_MAGIC` of `linux/magic.h`.
const NSFS: FsType = FsType(0x6e73_6673);

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Serialises [`prepare_directory`]: a second bind mount of a directory would hide the mounts below it.
static PREPARING: Mutex<()> = Mutex::new(());

/// Creates an empty namespace with its loopback device up, and mounts it at `path`; succeeds if one is already mounted. Its
/// stack forwards packets if `forwarding` is true.
///
/// The directory becomes a shared mount, as with `ip netns`: unmounting a namespace here also unmounts it in mount
/// namespaces that were copied from this one. Needs `CAP_SYS_ADMIN`.
pub fn create(path: &Path, forwarding: bool) -> Result<(), Error> {
    if inode(path)?.is_some() {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        prepare_directory(directory)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o444)
        .open(path)
        .map_err(|source| failed("open", path, source))?;
    let target = path.to_owned();
    let made = on_thread(&path.display().to_string(), move || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed("unshare", &target, errno))?;
        loopback_up(&target)?;
        if forwarding {
            forward_packets()?;
        }
        mount(
            Some(OWN),
            &target,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(|errno| failed("mount", &target, errno))
    });
    if made.is_err() {
        // Only the first error is reported.
        let _ = fs::remove_file(path);
    }
    made
}

/// Mounts the namespace of the calling thread at `path`; succeeds if it is already mounted. Needs `CAP_SYS_ADMIN`.
pub fn mount_own(path: &Path) -> Result<(), Error> {
    if inode(path)? == Some(current_inode()?) {
        return Ok(());
    }
    delete(path)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(path)
        .map_err(|source| failed("open", path, source))?;
    let mounted = mount(
        Some(OWN),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    );
    if mounted.is_err() {
        // Only the first error is reported.
        let _ = fs::remove_file(path);
    }
    mounted.map_err(|errno| failed("mount", path, errno))
}

/// Unmounts a namespace that [`create`] has created, and removes the file; succeeds if it does not exist. The kernel removes
/// the namespace when its last process ends.
pub fn delete(path: &Path) -> Result<(), Error> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::ENOENT | Errno::EINVAL) => break,
            Err(errno) => return Err(failed("umount2", path, errno)),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("unlink", path, error)),
        _ => Ok(()),
    }
}

/// Removes a directory of [`create`] and every namespace in it; succeeds if it does not exist.
pub fn delete_directory(directory: &Path) -> Result<(), Error> {
    for path in entries(directory)? {
        delete(&path)?;
    }
    loop {
        match umount2(directory, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::ENOENT | Errno::EINVAL) => break,
            Err(errno) => return Err(failed("umount2", directory, errno)),
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("rmdir", directory, error))
        }
        _ => Ok(()),
    }
}

/// Whether a file without a namespace is at `path`: an interrupted [`create`] has left it, or another program has unmounted the
/// namespace.
pub fn is_left_over(path: &Path) -> Result<bool, Error> {
    Ok(path.symlink_metadata().is_ok() && inode(path)?.is_none())
}

/// Inode of the network namespace at `path`; `None` if `path` does not exist or is another kind of file.
pub fn inode(path: &Path) -> Result<Option<u64>, Error> {
    match open(path) {
        Ok(file) => {
            let metadata = file
                .metadata()
                .map_err(|source| failed("fstat", path, source))?;
            Ok(Some(metadata.ino()))
        }
        Err(Error::NotNetns { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Inode of the network namespace of the calling thread.
pub fn current_inode() -> Result<u64, Error> {
    fs::metadata(OWN)
        .map(|metadata| metadata.ino())
        .map_err(|source| Error::syscall("stat", OWN, source))
}

/// The network namespace at `path`; `None` if `path` does not exist or is another kind of file. Enters the namespace on a
/// separate thread.
pub fn id(path: &Path) -> Result<Option<NetnsId>, Error> {
    match open(path) {
        Ok(file) => id_of(&file, path).map(Some),
        Err(Error::NotNetns { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a namespace. If `expected` is given, it must be that one: the path may have been mounted again, and the process of
/// a path in `/proc` may have ended and its id may have been reused.
///
/// # Errors
/// [`Error::NotNetns`] if the path does not exist or is another kind of file, [`Error::Replaced`] if another namespace is
/// there.
pub fn open_as(path: &Path, expected: Option<NetnsId>) -> Result<File, Error> {
    let file = open(path)?;
    match expected {
        Some(expected) if !expected.is(&id_of(&file, path)?) => Err(Error::Replaced {
            path: path.display().to_string(),
        }),
        _ => Ok(file),
    }
}

/// Checks that the namespace, which was opened at `path`, has this cookie.
///
/// # Errors
/// [`Error::Replaced`] if it has another one.
pub fn check_cookie(namespace: &File, path: &Path, expected: u64) -> Result<(), Error> {
    if cookie_of(namespace, path)? == expected {
        return Ok(());
    }
    Err(Error::Replaced {
        path: path.display().to_string(),
    })
}

fn id_of(file: &File, path: &Path) -> Result<NetnsId, Error> {
    let metadata = file
        .metadata()
        .map_err(|source| failed("fstat", path, source))?;
    Ok(NetnsId {
        inode: metadata.ino(),
        cookie: cookie_of(file, path)?,
        boot: boot()?,
    })
}

/// Cookie of a namespace. Enters it on a separate thread.
fn cookie_of(file: &File, path: &Path) -> Result<u64, Error> {
    let namespace = file
        .try_clone()
        .map_err(|source| failed("dup", path, source))?;
    let target = path.to_owned();
    on_thread(&path.display().to_string(), move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| failed("setns", &target, errno))?;
        cookie()
    })
}

/// The first 64 bits of the boot id of the machine.
pub fn boot() -> Result<u64, Error> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(PATH).map_err(|source| Error::syscall("read", PATH, source))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let first = digits.get(..16);
    let parsed = first.and_then(|first| u64::from_str_radix(first, 16).ok());
    parsed.ok_or_else(|| Error::Format {
        path: PATH.to_owned(),
        expected: "a UUID",
        found: text.trim().to_owned(),
    })
}

/// Cookie of the network namespace of the calling thread, as `bpf_get_netns_cookie` returns it. Not reused until the machine
/// restarts. Needs Linux 5.14.
pub fn cookie() -> Result<u64, Error> {
    let socket = std::os::unix::net::UnixDatagram::unbound()
        .map_err(|source| Error::syscall("socket", "AF_UNIX", source))?;
    let mut cookie = 0_u64;
    let mut size: libc::socklen_t = 8;
    // SAFETY: both pointers are to locals that outlive the call, and `size` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    Errno::result(result)
        .map(|_| cookie)
        .map_err(|errno| Error::syscall("getsockopt", "SO_NETNS_COOKIE", errno))
}

/// Opens a namespace.
///
/// # Errors
/// [`Error::NotNetns`] if the path does not exist or is another kind of file.
pub fn open(path: &Path) -> Result<File, Error> {
    let not_netns = || Error::NotNetns {
        path: path.display().to_string(),
    };
    // The path may be a pipe or a terminal: opening it must not block, and must not set the controlling terminal.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENXIO | libc::ESRCH) => not_netns(),
            _ => failed("open", path, error),
        })?;
    let kind = fstatfs(&file).map_err(|errno| failed("fstatfs", path, errno))?;
    if kind.filesystem_type() != NSFS {
        return Err(not_netns());
    }
    // SAFETY: the request takes no argument and the descriptor is open.
    let namespace_type = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    match namespace_type {
        libc::CLONE_NEWNET => Ok(file),
        -1 => Err(failed("ioctl(NS_GET_NSTYPE)", path, Errno::last())),
        _ => Err(not_netns()),
    }
}

/// Runs `work` on a separate thread in a namespace and waits for it without blocking the runtime.
///
/// # Errors
/// If the thread cannot be created or the namespace cannot be entered; `object` names the namespace in the error.
pub async fn run_in<T: Send + 'static>(
    namespace: &File,
    object: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let namespace = namespace
        .try_clone()
        .map_err(|source| Error::syscall("dup", object, source))?;
    let name = object.to_owned();
    thread::Builder::new()
        .spawn(move || {
            let result = setns(&namespace, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| Error::syscall("setns", name, errno))
                .map(|()| work());
            // This fails if the caller was cancelled.
            let _ = sender.send(result);
        })
        .map_err(|source| Error::syscall("clone", object, source))?;
    receiver
        .await
        .map_err(|_| Error::syscall("clone", object, io::Error::other("the thread panicked")))?
}

/// Names of the interfaces in the namespace at `path`; none if there is no namespace, or another one than `expected`.
///
/// # Errors
/// If the namespace cannot be entered, or its interfaces cannot be listed.
pub async fn interface_names(path: &Path, expected: Option<NetnsId>) -> Result<Vec<String>, Error> {
    let object = path.display().to_string();
    let namespace = match open_as(path, expected) {
        Err(Error::NotNetns { .. } | Error::Replaced { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let listed = run_in(&namespace, &object, || {
        let interfaces = if_nameindex()?;
        let names = interfaces.iter().map(Interface::name);
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    })
    .await?;
    listed.map_err(|errno: Errno| failed("if_nameindex", path, errno))
}

fn prepare_directory(directory: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(|source| failed("mkdir", directory, source))?;
    let _guard = PREPARING.lock().unwrap_or_else(PoisonError::into_inner);
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, directory, None::<&str>, flags, None::<&str>)
    };
    match share() {
        Ok(()) => Ok(()),
        Err(Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(
                Some(directory),
                directory,
                None::<&str>,
                flags,
                None::<&str>,
            )
            .and_then(|()| share())
            .map_err(|errno| failed("mount", directory, errno))
        }
        Err(errno) => Err(failed("mount", directory, errno)),
    }
}

/// Makes the stack of the calling thread's namespace forward packets.
fn forward_packets() -> Result<(), Error> {
    sysctl::write("net/ipv4/ip_forward", "1")?;
    if sysctl::has_ipv6() {
        sysctl::write("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

fn loopback_up(path: &Path) -> Result<(), Error> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))
        .map_err(|source| failed("socket", path, source))?;
    // SAFETY: every field of `ifreq` is valid when zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_LOOPBACK) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads the name and the flags of an `ifreq`, which both are set.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(result)
        .map(|_| ())
        .map_err(|errno| failed("ioctl(SIOCSIFFLAGS)", path, errno))
}

/// Paths of the files in a directory of [`create`], with and without a namespace; empty if the directory does not exist.
pub fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let reading = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| failed("opendir", directory, source))?,
    };
    reading
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<OsString>, _>>()
        .map(|names| names.iter().map(|name| directory.join(name)).collect())
        .map_err(|source| failed("readdir", directory, source))
}

fn on_thread<T: Send + 'static>(
    object: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    thread::Builder::new()
        .spawn(work)
        .map_err(|source| Error::syscall("clone", object, source))?
        .join()
        .map_err(|_| Error::syscall("clone", object, io::Error::other("the thread panicked")))?
}

fn failed(call: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
    Error::syscall(call, path.display(), source)
}
