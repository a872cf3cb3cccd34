//! See `tests/fuzz/mutate.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qadataswap_fuzz::fuzz::mutate::run(data));
