//! The one source of atomics: `core`'s, or loom's when the models run (`--cfg qads_loom`).
//!
//! The project has a cfg name of its own so that building for loom does not switch
//! dependencies over as well.

#[cfg(not(qads_loom))]
use core::sync::atomic::fence as plain_fence;
#[cfg(not(qads_loom))]
pub use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
#[cfg(qads_loom)]
use loom::sync::atomic::fence as plain_fence;
#[cfg(qads_loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What the ring's correctness rests on, point by point (the numbers of `ring`'s comments): fences,
/// orderings stronger than Relaxed, and second looks.
///
/// The models build the ring with one of them missing, and see that this is noticed. Otherwise a point is
/// only a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Fence after `WRITING`.
    W1,
    /// Release of `PUBLISHED`.
    W2,
    /// Release of `message_count` and `published`.
    W3,
    /// Fence before the look at `waiters`.
    W4,
    /// Release of the futex word.
    W5,
    /// That the futex word moves on when `waiters` is lowered.
    W5Move,
    /// Acquire of the generation.
    R1,
    /// Fence after the copy.
    R2,
    /// Second look at the generation after the copy.
    R2Look,
    /// Second look at the generation after the sequence of a message that is still there.
    SequenceLook,
    /// Second look at the generation of the slot that is being written, after `message_count`.
    NextLook,
    /// That losses are counted in messages, not in positions.
    LossInMessages,
    /// Fence after `waiters` is raised.
    R4,
    /// Second look for a message before sleeping.
    R4Look,
    /// Acquire of the futex word.
    R5,
    /// Fence after `claimed`.
    H1,
    /// Release of `claimed` when it is taken back.
    H1Back,
    /// Look at `joins`.
    H1Look,
    /// Look at what the gates cover.
    GateLook,
    /// Fence after JOINING is stored.
    H2,
    /// Fence after a gate is settled.
    H2Settle,
    /// Last look at `claimed` before a gate counts as settled.
    SettleLook,
    /// Release of `joins`.
    JoinsRelease,
    /// That the first message is chosen after the claim that may be under way.
    JoinFloor,
    /// Fence after the bit in the mask of leasing entries.
    H2Lease,
    /// That no message is leased that a claim under way may overwrite.
    LeaseFloor,
    /// That `joins` moves on when an entry begins to lease.
    LeaseJoins,
    /// That an entry that begins to lease may lease anything, whatever was said there before.
    LeaseFromZero,
    /// Look at whether an entry may lease what is claimed.
    LeaseFromLook,
    /// Fence after `WRITING`, where somebody leases.
    L1,
    /// Second look for leases.
    L1Look,
    /// Fence after the lease.
    L2,
    /// Second look at the generation after the lease.
    L2Look,
    /// That a skipped slot is `WRITING` while its head changes.
    SkipWriting,
    /// Release of `SKIPPED`.
    SkipRelease,
    /// That a takeover writes a half-written position again.
    RecoverWriting,
    /// That a takeover goes by the slots, which may be ahead of the header.
    RecoverUnannounced,
}

/// Whether the model that runs is to do without `point`. Constant in a real build.
#[cfg(not(qads_loom))]
#[inline(always)]
pub const fn is_missing(_point: Point) -> bool {
    false
}

#[cfg(qads_loom)]
mod missing {
    use std::cell::Cell;

    use super::Point;

    // loom runs all threads of a model on one thread of the system.
    thread_local!(static MISSING: Cell<Option<Point>> = const { Cell::new(None) });

    /// Whether the model that runs is to do without `point`.
    pub fn is_missing(point: Point) -> bool {
        MISSING.get() == Some(point)
    }

    /// Has models that this thread runs from now on do without `point`.
    pub fn set_missing(point: Option<Point>) {
        MISSING.set(point);
    }
}
#[cfg(qads_loom)]
pub use missing::{is_missing, set_missing};

/// The fence of `point`.
#[inline(always)]
pub fn fence(point: Point, ordering: Ordering) {
    if !is_missing(point) {
        plain_fence(ordering);
    }
}

/// The ordering of `point`.
#[inline(always)]
pub fn at(point: Point, ordering: Ordering) -> Ordering {
    if is_missing(point) { Ordering::Relaxed } else { ordering }
}

/// The Acquire load of `point`; see [`load_acquire`].
#[inline(always)]
pub fn load_at(point: Point, word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(point, Ordering::Acquire);
    value
}

/// [`load_at`] for a 32-bit word.
#[inline(always)]
pub fn load_at_u32(point: Point, word: &AtomicU32) -> u32 {
    let value = word.load(Ordering::Relaxed);
    fence(point, Ordering::Acquire);
    value
}

/// Loads with Acquire strength from memory that may be mapped read-only.
///
/// The standard library promises only that *relaxed* loads of word size work on read-only pages
/// (`core::sync::atomic`, "Atomic accesses to read-only memory"), so the strength comes from a
/// fence. On x86-64 both forms are the same single `mov`.
#[inline(always)]
pub fn load_acquire(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    plain_fence(Ordering::Acquire);
    value
}

/// [`load_acquire`] for a 32-bit word.
#[inline(always)]
pub fn load_acquire_u32(word: &AtomicU32) -> u32 {
    let value = word.load(Ordering::Relaxed);
    plain_fence(Ordering::Acquire);
    value
}

/// An Acquire fence of the process's own, for what is not shared with others.
#[cfg(feature = "arrow")]
#[inline(always)]
pub fn acquire() {
    plain_fence(Ordering::Acquire);
}
