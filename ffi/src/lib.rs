//! The C interface of qadataswap: `include/qadataswap.h` is generated from this crate.
//!
//! Every function goes through [`status::call`], which no panic passes, and checks its handles and arguments
//! before it does anything. What cannot be checked, the header says.
#![allow(non_camel_case_types)] // the names that C sees

// In the order in which the header has them.
mod status;

mod arena;

mod options;

mod writer;

mod reader;

mod arrow;

mod handle;

use std::ffi::{c_char, c_int};

/// Version of this interface: its major number times 65536, plus its minor number. A program can use a library with
/// the same major number and at least the minor number of the header it was compiled with.
pub const QADS_ABI_VERSION: u32 = 1 << 16;

/// QADS_ABI_VERSION of the library, to be compared with that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn qads_abi_version() -> u32 {
    QADS_ABI_VERSION
}

/// Removes the ring `name`, which must not have a live writer. Readers that are attached keep their memory, drain
/// it, and are then told that it is closed.
///
/// # Safety
/// `name` must be a null-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_unlink(name: *const c_char) -> c_int {
    status::call(|| Ok(ring::unlink(status::name(name)?)?))
}
