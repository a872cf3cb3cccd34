//! See `tests/fuzz/control.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qadataswap_fuzz::fuzz::control::run(data));
