//! `bpf(2)` calls that aya does not provide, and related system calls.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_MAP_DELETE_BATCH: libc::c_long = 27;
const BPF_LINK_UPDATE: libc::c_long = 29;

/// The interface and the program of a TCX or XDP link.
#[derive(Clone, Copy, Debug)]
pub struct LinkTarget {
    /// Interface index; 0 if the interface was removed or the link was detached by force.
    pub ifindex: u32,
    /// Id of its program.
    pub program: u32,
}

/// Opens the pinned object at a path (Linux 4.4).
///
/// # Errors
/// Those of `BPF_OBJ_GET`.
pub fn open_pin(pin: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = Attr {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    let fd = bpf_value(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the call has succeeded, so the descriptor is new and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads the interface and the program of a TCX link (Linux 6.6) or an XDP link (Linux 5.9).
///
/// # Errors
/// Those of `BPF_OBJ_GET_INFO_BY_FD`.
pub fn link_target(link: BorrowedFd<'_>) -> io::Result<LinkTarget> {
    let LinkInfo {
        program, target, ..
    } = link_info(link)?;
    // For TCX, the attach type follows.
    let [ifindex, _] = target;
    Ok(LinkTarget { ifindex, program })
}

/// The cgroup and the program of a socket program's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTarget {
    /// Id of the cgroup; 0 if it was removed or the link was detached by force.
    pub cgroup: u64,
    /// Id of its program.
    pub program: u32,
}

/// Reads the cgroup and the program of a socket program's link (Linux 5.8).
///
/// # Errors
/// Those of `BPF_OBJ_GET_INFO_BY_FD`.
pub fn socket_target(link: BorrowedFd<'_>) -> io::Result<SocketTarget> {
    let LinkInfo {
        program, target, ..
    } = link_info(link)?;
    let [[a, b, c, d], [e, f, g, h]] = target.map(u32::to_ne_bytes);
    let cgroup = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    Ok(SocketTarget { cgroup, program })
}

/// The start of `struct bpf_link_info`; the content of `target` depends on the kind of link.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    target: [u32; 2],
    rest: [u64; 4],
}

fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    #[repr(C)]
    struct Attr {
        fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = LinkInfo::default();
    let mut attr = Attr {
        fd: link.as_raw_fd() as u32,
        info_len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Replaces the program of a link atomically (Linux 5.7).
///
/// # Errors
/// Those of `BPF_LINK_UPDATE`.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link: u32,
        program: u32,
        flags: u32,
        old_program: u32,
    }
    let mut attr = Attr {
        link: link.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        flags: 0,
        old_program: 0,
    };
    bpf(BPF_LINK_UPDATE, &mut attr)
}

/// The member of `union bpf_attr` for batch operations.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Position in the iteration over a hash map; only the kernel interprets it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Position([u64; 8]);

/// Reads the next entries of a map into `keys` and `values`. Returns their number and whether more follow (Linux 5.6).
///
/// # Errors
/// Those of `BPF_MAP_LOOKUP_BATCH`; `ENOSPC` if a bucket has more entries than the slices.
pub fn lookup_batch<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    position: &mut Option<Position>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    let count = keys.len().min(values.len());
    let (keys, values) = (keys.as_mut_ptr().cast(), values.as_mut_ptr().cast());
    next_batch(map, position, keys, values, count)
}

/// Reads at most `count` entries to `keys` and `values`, which must have room for them. `position` advances only if the
/// call succeeds.
fn next_batch(
    map: BorrowedFd<'_>,
    position: &mut Option<Position>,
    keys: *mut u8,
    values: *mut u8,
    count: usize,
) -> io::Result<(usize, bool)> {
    let mut next = Position::default();
    let mut attr = BatchAttr {
        in_batch: position
            .as_ref()
            .map_or(0, |position| (&raw const *position) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys as u64,
        values: values as u64,
        count: count as u32,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    let more = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    *position = Some(next);
    Ok((attr.count as usize, more))
}

/// Counts the entries of a hash map with keys and values of any size (Linux 5.6).
///
/// # Errors
/// Those of `BPF_MAP_LOOKUP_BATCH`.
pub fn count_batch(
    map: BorrowedFd<'_>,
    key_size: usize,
    value_size: usize,
    mut chunk: usize,
) -> io::Result<u64> {
    let mut total = 0;
    let mut position: Option<Position> = None;
    loop {
        // Values are padded to eight bytes.
        let mut keys = vec![0_u8; chunk * key_size];
        let mut values = vec![0_u8; chunk * value_size.next_multiple_of(8)];
        let (keys, values) = (keys.as_mut_ptr(), values.as_mut_ptr());
        match next_batch(map, &mut position, keys, values, chunk) {
            Ok((count, more)) => {
                total += count as u64;
                if !more {
                    return Ok(total);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => chunk *= 2,
            Err(error) => return Err(error),
        }
    }
}

/// Counts the entries of a map by iterating over its keys.
///
/// # Errors
/// Those of `BPF_MAP_GET_NEXT_KEY`.
pub fn count_keys(map: BorrowedFd<'_>, key_size: usize) -> io::Result<u64> {
    #[repr(C)]
    struct Attr {
        map_fd: u32,
        pad: u32,
        key: u64,
        next_key: u64,
    }
    let mut key = vec![0_u8; key_size];
    let mut next = vec![0_u8; key_size];
    let mut total = 0;
    loop {
        let from = if total == 0 { 0 } else { key.as_ptr() as u64 };
        let mut attr = Attr {
            map_fd: map.as_raw_fd() as u32,
            pad: 0,
            key: from,
            next_key: next.as_mut_ptr() as u64,
        };
        match bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) {
            Ok(()) => total += 1,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(total),
            Err(error) => return Err(error),
        }
        key.copy_from_slice(&next);
    }
}

/// Memory of a map in bytes, as the kernel accounts it (`memlock` in `fdinfo`); 0 if it cannot be read.
pub fn memory(map: &aya::maps::MapData) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok())
        .unwrap_or_default()
}

/// Writes entries. Returns how many were written before the first error.
///
/// # Errors
/// Those of `BPF_MAP_UPDATE_BATCH`.
pub fn update_batch<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    let mut attr = BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: keys.len().min(values.len()) as u32,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_BATCH, &mut attr)
}

/// Deletes entries. Returns how many were deleted before the first error; a missing entry is the error `ENOENT`.
///
/// # Errors
/// Those of `BPF_MAP_DELETE_BATCH`.
pub fn delete_batch<K: aya::Pod>(map: BorrowedFd<'_>, keys: &[K]) -> (usize, io::Result<()>) {
    let mut attr = BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: 0,
        count: keys.len() as u32,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    let result = bpf(BPF_MAP_DELETE_BATCH, &mut attr);
    (attr.count as usize, result)
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<()> {
    bpf_value(command, attr).map(|_| ())
}

fn bpf_value<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is the command's member of `union bpf_attr` and outlives the call. The pointers in it are to buffers of
    // the callers above, with the sizes that the counts and lengths in `attr` give.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}

/// Name of an interface of the calling thread's namespace.
pub fn ifname(index: u32) -> Option<String> {
    let mut buffer = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the largest size that the call writes.
    let name = unsafe { libc::if_indextoname(index, buffer.as_mut_ptr()) };
    if name.is_null() {
        return None;
    }
    // SAFETY: the call has written a string that ends with zero into the buffer.
    let name = unsafe { std::ffi::CStr::from_ptr(buffer.as_ptr()) };
    name.to_str().ok().map(str::to_owned)
}

/// CPU time that this thread has used.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}

/// The programs' clock: coarse monotonic nanoseconds.
pub fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one `timespec`; this clock always exists.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time);
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
