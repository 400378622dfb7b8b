//! Loops whose body the verifier follows once.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;

use super::{Continue, Step};

/// Runs `body` up to `count` times (`bpf_loop`, Linux 5.17). The verifier follows the body once, not `count` times.
#[inline(always)]
pub fn repeat<S: Step>(count: u32, body: &mut S) {
    // SAFETY: the callback gets `body`, which outlives the loop; the kernel does not keep it.
    unsafe {
        bpf_loop(
            count,
            run_step::<S> as *mut c_void,
            (&raw mut *body).cast(),
            0,
        );
    }
}

unsafe extern "C" fn run_step<S: Step>(number: u32, body: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` passes the pointer that `repeat` has passed to it.
    let body = unsafe { &mut *body.cast::<S>() };
    match body.step(number) {
        Continue::Yes => 0,
        Continue::No => 1,
    }
}
