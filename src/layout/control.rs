//! The control segment: what readers say back to the writer.
//!
//! Readers that are registered here are seen by operators, woken when they sleep, and can hold messages:
//! lease single slots, or gate everything from their position on. Whoever may register may also store
//! anything here, so the writer takes nothing in it for true beyond what it costs to be wrong: a raised
//! `waiters` word costs one wake-up call, a forged lease a passed-over slot, a forged gate a wait that the
//! writer's options bound.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

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
    /// Number of the first data segment whose holds are all here. Holds on an earlier one stood in a control
    /// segment that was lost, so no writer may store to that any more.
    pub first_segment: AtomicU64,
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

/// Third line: who may be holding messages. Changes when readers come and go, not when they read.
///
/// The bits of the two masks number the entries. A set bit may be out of date (its owner died), a clear
/// one means that the entry holds nothing.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Holds {
    /// Moves on whenever a gate is set up or an entry begins to lease, so that the writer looks at all of them again.
    pub joins: AtomicU64,
    /// Entries that may have a gate.
    pub gating: AtomicU64,
    /// Entries that may have leases.
    pub leasing: AtomicU64,
    /// Not zero: the writer waits for a gate and may be asleep on this word (a futex). It is the low half of the
    /// position that readers are to reach before they wake it.
    pub blocked: AtomicU32,
}

/// The holds of a ring: mapped memory, or in models any other.
pub trait HoldTable {
    /// The line of masks.
    fn holds(&self) -> &Holds;
    /// Number of entries, at most 64.
    fn entry_count(&self) -> usize;
    /// The entry at `index`, which is below the count.
    fn entry(&self, index: usize) -> &Entry;

    /// Withdraws all that the entry at `index` holds. Its owner is dead, or has stopped using what it held.
    fn clear_holds(&self, index: usize) {
        let entry = self.entry(index);
        // Release (H3), although nobody uses it any more: the writer may read this store in place of the holder's own,
        // and a later Relaxed one would hide that.
        for lease in &entry.leases {
            lease.store(0, Ordering::Release);
        }
        entry.gate.store(0, Ordering::Release);
        // Release: the masks are lowered after what they announce.
        let others = !(1 << index);
        self.holds().gating.fetch_and(others, Ordering::Release);
        self.holds().leasing.fetch_and(others, Ordering::Release);
    }
}

/// What a reader entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EntryKind {
    /// Nobody's.
    Free = 0,
    /// A reader that may be lapped.
    Lossy = 1,
    /// A reader that may not: it has a gate.
    Gating = 2,
}

/// One registered reader, in two pairs of lines: who it is and what it leases (the writer looks at this
/// one when anybody leases), and what changes with every message it consumes.
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
    /// Number of the segment whose slots `leases` are ([`Immutable`](super::Immutable)).
    pub segment_number: AtomicU64,
    /// Slot index + 1 of each message leased; 0 where there is none.
    pub leases: [AtomicU32; LEASES_PER_ENTRY],
    /// First position that the owner may lease, now or later.
    pub lease_from: AtomicU64,
    reserved: [AtomicU64; 8],
    /// Position + 1 from which on nothing may be overwritten; 0 for no gate; with
    /// [`JOINING`](Self::JOINING), nothing at all.
    pub gate: AtomicU64,
    /// Position the reader will consume next.
    pub position: AtomicU64,
    /// Messages consumed.
    pub consumed: AtomicU64,
    /// Messages lost to overruns.
    pub lost: AtomicU64,
    /// Times the reader was lapped.
    pub overruns: AtomicU64,
    /// Reads that ended without a message.
    pub timeouts: AtomicU64,
    reserved_counters: [AtomicU64; 10],
}

impl Entry {
    /// Bit of a gate word that stands for a reader about to choose its first message. The other bits then
    /// tell one attempt from another.
    pub const JOINING: u64 = 1 << 63;
}

#[cfg(not(qads_loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<ControlHeader>() == 128 && size_of::<Waiters>() == 128);
    assert!(offset_of!(ControlHeader, abi_version) == 8);
    assert!(offset_of!(ControlHeader, entry_count) == 12);
    assert!(offset_of!(ControlHeader, ring_id) == 16);
    assert!(offset_of!(ControlHeader, first_segment) == 24);
    assert!(size_of::<Holds>() == 128);
    assert!(offset_of!(Holds, gating) == 8 && offset_of!(Holds, leasing) == 16);
    assert!(offset_of!(Holds, blocked) == 24);
    assert!(size_of::<Entry>() == 256);
    assert!(offset_of!(Entry, pid) == 4 && offset_of!(Entry, start_ticks) == 8);
    assert!(offset_of!(Entry, segment_number) == 16 && offset_of!(Entry, leases) == 24);
    assert!(offset_of!(Entry, lease_from) == 56);
    assert!(offset_of!(Entry, gate) == 128 && offset_of!(Entry, position) == 136);
    assert!(offset_of!(Entry, consumed) == 144 && offset_of!(Entry, lost) == 152);
    assert!(offset_of!(Entry, overruns) == 160 && offset_of!(Entry, timeouts) == 168);
};
