//! The search: libFuzzer makes inputs, [`netpath_fuzz::check`] says what must hold for each.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| netpath_fuzz::check(input));
