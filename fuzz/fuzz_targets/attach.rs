//! See `tests/fuzz/attach.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qadataswap_fuzz::fuzz::attach::run(data));
