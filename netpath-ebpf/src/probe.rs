//! Asks the running kernel which flags its helpers know, see [`netpath_common::probe`].

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::bpf_fib_lookup,
    helpers::generated::{bpf_fib_lookup as fib_lookup, bpf_l4_csum_replace, bpf_skb_load_bytes},
};
use netpath_common::probe::{CHECKSUM, Question, ROUTE, UNKNOWN_FLAG};

use crate::{packet::skb::Skb, path::route};

/// Makes the call that the packet names and returns its result.
#[inline(always)]
pub fn run(skb: &Skb) -> i32 {
    let mut question = MaybeUninit::<Question>::uninit();
    let size = size_of::<Question>() as u32;
    // SAFETY: the helper fills all bytes of `question` or fails; every bit pattern is a value.
    let Question { helper, flags } = unsafe {
        if bpf_skb_load_bytes(skb.as_ptr().cast(), 0, question.as_mut_ptr().cast(), size) != 0 {
            return UNKNOWN_FLAG;
        }
        question.assume_init()
    };
    match helper {
        ROUTE => {
            let mut query = route::empty_query(skb.ifindex());
            let size = size_of::<bpf_fib_lookup>() as i32;
            // SAFETY: `query` is a whole structure, and the context is the program's own.
            unsafe { fib_lookup(skb.as_ptr().cast(), &raw mut query, size, flags) as i32 }
        }
        CHECKSUM => {
            // SAFETY: plain helper call on the program's own context; it changes nothing by a difference of zero.
            unsafe { bpf_l4_csum_replace(skb.as_ptr(), CHECKSUM_AT, 0, 0, flags as u64) as i32 }
        }
        _ => UNKNOWN_FLAG,
    }
}

/// Offset of two bytes behind the question.
const CHECKSUM_AT: u32 = size_of::<Question>() as u32;
