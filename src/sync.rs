//! The one source of atomics: `core`'s, or loom's when the models run (`--cfg qads_loom`).
//!
//! The project has a cfg name of its own so that building for loom does not switch
//! dependencies over as well.

#[cfg(not(qads_loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(qads_loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Loads with Acquire strength from memory that may be mapped read-only.
///
/// The standard library promises only that *relaxed* loads of word size work on read-only pages
/// (`core::sync::atomic`, "Atomic accesses to read-only memory"), so the strength comes from a
/// fence. On x86-64 both forms are the same single `mov`.
#[inline(always)]
pub fn load_acquire(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// [`load_acquire`] for a 32-bit word.
#[inline(always)]
pub fn load_acquire_u32(word: &AtomicU32) -> u32 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}
