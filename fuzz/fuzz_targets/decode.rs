//! See `tests/fuzz/decode.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qadataswap_fuzz::fuzz::decode::run(data));
