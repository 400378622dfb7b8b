//! Copies between a packet and memory.

use aya_ebpf::{
    bindings::BPF_F_RECOMPUTE_CSUM,
    helpers::generated::{bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes},
};
use netpath_common::{
    maps::{BUFFER_BYTES, SweepRecord},
    probe::ProbeRequest,
};

use super::bounded;
use crate::{packet::skb::Skb, parse::ETHERNET};

/// Copies the first `length` bytes of a packet into `buffer`, which may be larger. `false` if they cannot be read or do not
/// fit.
#[inline(always)]
pub fn load_bytes(skb: &Skb, buffer: *mut [u8; BUFFER_BYTES], length: u32) -> bool {
    let Some(length) = bounded::<BUFFER_BYTES>(length) else {
        return false;
    };
    // SAFETY: callers pass a field of a map value; `length` is in `1..=BUFFER_BYTES`.
    unsafe { bpf_skb_load_bytes(skb.as_ptr().cast(), 0, buffer.cast(), length) == 0 }
}

/// Reads the record at `offset` of the packet of a test run, and returns the result of `use_record`. `false` if the
/// packet is too short.
#[inline(always)]
pub fn load_record(
    skb: &Skb,
    offset: usize,
    use_record: impl FnOnce(&SweepRecord) -> bool,
) -> bool {
    let mut record = core::mem::MaybeUninit::<SweepRecord>::uninit();
    // SAFETY: the helper fills all bytes of `record` or fails; every bit pattern is a value. The record is used in place,
    // because a copy would compile to a call of a byte loop.
    unsafe {
        let size = size_of::<SweepRecord>() as u32;
        let buffer = record.as_mut_ptr().cast();
        if bpf_skb_load_bytes(skb.as_ptr().cast(), offset as u32, buffer, size) != 0 {
            return false;
        }
        use_record(record.assume_init_ref())
    }
}

/// Reads the request of a probe from the packet of a test run. `None` if the packet is too short.
#[inline(always)]
pub fn load_probe_request(skb: &Skb) -> Option<ProbeRequest> {
    let mut request = core::mem::MaybeUninit::<ProbeRequest>::uninit();
    let size = size_of::<ProbeRequest>() as u32;
    // SAFETY: the helper fills all bytes of `request` or fails; every bit pattern is a value.
    unsafe {
        let buffer = request.as_mut_ptr().cast();
        if bpf_skb_load_bytes(skb.as_ptr().cast(), 0, buffer, size) != 0 {
            return None;
        }
        Some(request.assume_init())
    }
}

/// Replaces the whole packet, whose network header is at `l3` (0 or [`ETHERNET`]), by the first `length` bytes of `frame`.
/// `false` if it cannot be written; the packet is then unusable.
#[inline(always)]
pub fn replace_packet(
    skb: &mut Skb,
    l3: usize,
    frame: *const [u8; BUFFER_BYTES],
    length: u32,
) -> bool {
    let (skb, frame): (_, *const u8) = (skb.as_ptr(), frame.cast());
    let flags = BPF_F_RECOMPUTE_CSUM as u64;
    if l3 == 0 {
        // SAFETY: as below; `length` is in `1..=BUFFER_BYTES`.
        return unsafe {
            bpf_skb_change_tail(skb, length, 0) == 0
                && match bounded::<BUFFER_BYTES>(length) {
                    Some(length) => bpf_skb_store_bytes(skb, 0, frame.cast(), length, flags) == 0,
                    None => false,
                }
        };
    }
    let header = ETHERNET as u32;
    // SAFETY: callers pass a field of a map value; `body` is in `1..=BUFFER_BYTES - ETHERNET`, and the frame's body begins
    // `ETHERNET` bytes after its start.
    unsafe {
        if bpf_skb_change_tail(skb, length, 0) != 0
            || bpf_skb_store_bytes(skb, 0, frame.cast(), header, 0) != 0
        {
            return false;
        }
        let Some(body) = bounded::<{ BUFFER_BYTES - ETHERNET }>(length - header) else {
            return false;
        };
        bpf_skb_store_bytes(skb, header, frame.add(ETHERNET).cast(), body, flags) == 0
    }
}
