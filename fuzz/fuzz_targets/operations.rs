//! See `tests/fuzz/operations.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qadataswap_fuzz::fuzz::operations::run(data));
