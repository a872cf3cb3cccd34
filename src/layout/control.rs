//! The control segment: what readers say back to the writer.
//!
//! Readers that are registered here are seen by operators and woken when they sleep. Whoever may
//! register may also store anything here, so the writer takes nothing in it for true beyond what it
//! costs to be wrong: a raised `waiters` word costs one wake-up call.

use crate::sync::{AtomicU32, AtomicU64};

/// Leases one entry has room for.
pub const LEASES_PER_ENTRY: usize = 8;

/// First line of the control segment: stored by the writer that made it, `magic` last.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct ControlHeader {
    /// [`MAGIC`](Self::MAGIC).
    pub magic: AtomicU64,
    /// [`Immutable::ABI_VERSION`](super::Immutable::ABI_VERSION).
    pub abi_version: AtomicU32,
    /// Number of entries in the table.
    pub entry_count: AtomicU32,
    /// The ring this belongs to.
    pub ring_id: AtomicU64,
}

impl ControlHeader {
    /// `QADSCTRL` in memory order.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"QADSCTRL");
}

/// Second line: whether anyone may be asleep.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Waiters {
    /// Not zero: somebody may be asleep. Raised by a reader that is about to sleep, lowered by the
    /// writer when it wakes.
    pub word: AtomicU32,
}

/// What a reader entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EntryKind {
    /// Nobody's.
    Free = 0,
    /// A reader that may be lapped.
    Lossy = 1,
}

/// One registered reader: who it is and what it holds (two lines), what it counted (two lines).
///
/// Stored to by the process that holds the owner lock on the entry, and by no other.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Entry {
    /// An [`EntryKind`].
    pub kind: AtomicU32,
    /// Process id of the owner, in its own pid namespace.
    pub pid: AtomicU32,
    /// When that process started, in clock ticks since boot.
    pub start_ticks: AtomicU64,
    /// Position the reader will consume next.
    pub position: AtomicU64,
    /// Position + 1 of each message leased; 0 where there is none.
    pub leases: [AtomicU64; LEASES_PER_ENTRY],
    reserved: [AtomicU64; 5],
    /// Messages consumed.
    pub consumed: AtomicU64,
    /// Messages lost to overruns.
    pub lost: AtomicU64,
    /// Times the reader was lapped.
    pub overruns: AtomicU64,
    /// Reads that ended without a message.
    pub timeouts: AtomicU64,
    reserved_counters: [AtomicU64; 12],
}

#[cfg(not(qads_loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<ControlHeader>() == 128 && size_of::<Waiters>() == 128);
    assert!(offset_of!(ControlHeader, abi_version) == 8);
    assert!(offset_of!(ControlHeader, entry_count) == 12);
    assert!(offset_of!(ControlHeader, ring_id) == 16);
    assert!(size_of::<Entry>() == 256);
    assert!(offset_of!(Entry, pid) == 4 && offset_of!(Entry, start_ticks) == 8);
    assert!(offset_of!(Entry, position) == 16 && offset_of!(Entry, leases) == 24);
    assert!(offset_of!(Entry, consumed) == 128 && offset_of!(Entry, lost) == 136);
    assert!(offset_of!(Entry, overruns) == 144 && offset_of!(Entry, timeouts) == 152);
};
