//! What `crate::sync` is to the ring's sources under ThreadSanitizer (`--cfg qads_tsan`), which knows nothing
//! of fences: an Acquire load where the library has a relaxed one and a fence.
//!
//! All else is the library's own.
#![allow(dead_code, unused_imports)]

#[path = "../../src/sync.rs"]
mod library;

pub use library::{AtomicU32, AtomicU64, Ordering, Point, at, fence, is_missing};

pub fn load_at(_point: Point, word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

pub fn load_acquire(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

pub fn load_acquire_u32(word: &AtomicU32) -> u32 {
    word.load(Ordering::Acquire)
}

pub fn load_at_u32(_point: Point, word: &AtomicU32) -> u32 {
    word.load(Ordering::Acquire)
}
